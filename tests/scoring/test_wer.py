import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mam.errors import ConfigError
from mam.scoring import wer
from mam.scoring.metric import WordErrorRate
from mam.scoring.wer import error_counts, errors, pair_counts, rates, tokens


def distance(a: list[str], b: list[str]) -> int:
    """Levenshtein distance by the textbook's dynamic programme: independent of jiwer."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def test_counts_by_hand():
    references = ["the cat sat on the mat", "hello", "a b c"]
    hypotheses = ["the bat sat the mat now", "hello", ""]
    counts = error_counts(references, hypotheses, "word")
    assert counts.tolist() == [[1, 1, 1, 6], [0, 0, 0, 1], [0, 3, 0, 3]]
    made = rates(counts, error_counts(references, hypotheses, "character"))
    assert made.wer == 6 / 10 and (made.substitutions, made.deletions, made.insertions, made.words) == (1, 4, 1, 10)


def test_characters_count_blanks():
    assert error_counts(["ab cd"], ["abcd"], "character").tolist() == [[0, 1, 0, 5]]


@pytest.mark.parametrize("space", ["\t", "\u00a0", "\u3000", "\n", "\r\n", "\u2028", "\x1f", "  ", " \t "])
def test_any_white_space_separates_words(space):
    said = f"hello{space}world"
    assert error_counts([said], ["hello there"], "word").tolist() == [[1, 0, 0, 2]]
    assert error_counts(["hello there"], [said], "word").tolist() == [[1, 0, 0, 2]]
    assert error_counts([said], ["hello world"], "character").tolist() == [[0, 0, 0, 11]]
    assert error_counts([space], [f"{space}a{space}b{space}"], "word").tolist() == [[0, 0, 2, 0]]
    assert error_counts([space], [f"{space}a{space}b{space}"], "character").tolist() == [[0, 0, 3, 0]]


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("今日 は", "今日は"),
        ("我 love you", "我love you"),
        ("สวัสดี ครับ", "สวัสดีครับ"),
        ("안녕 하세요", "안녕 하세요"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
    ],
)
def test_blanks_are_no_characters_beside_scripts_without_spaces(text, characters):
    assert tokens(text, "character") == list(characters)


def test_empty_reference_is_all_insertions():
    assert error_counts(["", "a"], ["um er", "a"], "word").tolist() == [[0, 0, 2, 0], [0, 0, 0, 1]]
    assert error_counts([""], [""], "word").tolist() == [[0, 0, 0, 0]]


def test_no_reference_word_at_all_is_refused():
    counts = error_counts(["", " "], ["a", ""], "word")
    with pytest.raises(ValueError, match="no reference word"):
        rates(counts, counts)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        error_counts(["a", "b"], ["a"], "word")


words = st.lists(st.sampled_from(["a", "b", "cc", "d"]), max_size=7)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=6))
def test_errors_are_the_levenshtein_distance(pairs):
    counts = error_counts([" ".join(r) for r, _ in pairs], [" ".join(h) for _, h in pairs], "word")
    assert errors(counts).tolist() == [distance(r, h) for r, h in pairs]


def test_blocks_are_counted_as_the_whole(monkeypatch):
    references = ["a b", "", "c", "d e f", "a", "b b", "c"]
    hypotheses = ["a", "x y", "c", "f e d", "", "b", "d"]
    whole = error_counts(references, hypotheses, "word")
    monkeypatch.setattr(wer, "BLOCK", 2)
    assert error_counts(references, hypotheses, "word").tolist() == whole.tolist()
    assert error_counts([], [], "word").shape == (0, 4)


@given(st.lists(st.tuples(words, words), max_size=6))
def test_pairs_that_occur_again_count_again(pairs):
    raw = [(" ".join(r).upper(), " ".join(h)) for r, h in pairs * 2]
    made = pair_counts(raw, str.lower)
    for unit, counts in made.items():
        assert counts.tolist() == error_counts([r.lower() for r, _ in raw], [h for _, h in raw], unit).tolist()
    assert set(made) == {"word", "character"}


def test_the_metric_normalises_and_counts():
    made = WordErrorRate("hubert_english").compute(predictions=["Hello Anna"], references=["hello, Hannah!"])
    assert made == {"wer": 0.5, "cer": 2 / 12, "substitutions": 1, "deletions": 0, "insertions": 0, "words": 2}
    spelled = {"predictions": ["einundzwanzig"], "references": ["21"]}
    assert WordErrorRate("multilingual").compute(**spelled, language="de")["wer"] == 0
    assert WordErrorRate("multilingual").compute(**spelled)["wer"] == 1
    with pytest.raises(ConfigError, match="swiss: is not a normalizer. Choose one of: basic, hubert_english,"):
        WordErrorRate("swiss")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(words.filter(bool), words), min_size=1, max_size=6))
def test_the_metric_is_jiwers_rate(pairs):
    references, predictions = ([" ".join(side) for side in sides] for sides in zip(*pairs, strict=True))
    metric = WordErrorRate()
    for reference, prediction in zip(references, predictions, strict=True):
        metric.add(reference=reference, prediction=prediction)
    made = metric.compute()
    assert made["wer"] == pytest.approx(jiwer.wer(references, predictions))
    assert made["cer"] == pytest.approx(jiwer.cer(references, predictions))


def test_the_metric_is_loaded_as_the_page_says(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "normalizers.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = code.replace("metric.compute(", "print(metric.compute(").replace('"])', '"]))')
    offline = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    shown = subprocess.run([sys.executable, "-c", code], env=offline, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    expected = {"wer": 1 / 3, "cer": 3 / 13, "substitutions": 0, "deletions": 1, "insertions": 0, "words": 3}
    assert ast.literal_eval(shown.stdout) == expected


def test_counts_are_integers():
    assert error_counts(["a"], ["b"], "word").dtype == np.int64
