"""Transcripts become corpus rates and a paired difference."""

from collections import Counter

import jiwer
import numpy as np
import pytest
from support.runs import jobs

from mam.scoring.text import NORMALIZERS
from mam.tasks import asr


def test_score_counts_as_the_scorer_does():
    rows = [{"reference": "Hello, Anna!", "prediction": "HELLO HANNA"}, {"reference": "one", "prediction": "1"}]
    right = [{"reference": row["reference"], "prediction": row["reference"]} for row in rows]
    scored = asr.score(jobs(["data.normalizer=hubert_english"])[0].config, [rows], right)
    assert scored.metrics.wer == scored.delta.absolute == 1 / 3
    counted = {key: getattr(scored.metrics, key) for key in ("substitutions", "deletions", "insertions", "words")}
    assert counted == {"substitutions": 1, "deletions": 0, "insertions": 0, "words": 3}
    assert scored.baseline.wer == 0 and scored.delta.relative is None


@pytest.fixture
def calls(monkeypatch):
    """Texts that ``data.normalizer=watched`` was given, and the pairs that jiwer aligned in words and in characters."""
    made = {"normalised": Counter(), "words": Counter(), "characters": Counter()}

    def watched(text):
        made["normalised"][text] += 1
        return text.lower()

    def watch(kind, align):
        def aligned(references, hypotheses):
            made[kind].update(zip(references, hypotheses, strict=True))
            return align(references, hypotheses)

        monkeypatch.setattr(jiwer, f"process_{kind}", aligned)

    watch("words", jiwer.process_words)
    watch("characters", jiwer.process_characters)
    monkeypatch.setitem(NORMALIZERS, "watched", watched)
    return made


def test_each_text_is_normalised_once_and_each_pair_aligned_once(calls):
    config = jobs(["data.normalizer=watched"])[0].config
    old = [{"id": str(i), "reference": f"Clip {i} it is", "prediction": f"CLIP {i} it was"} for i in range(100)]
    new = [row | {"prediction": f"clip {i} is"} if i < 10 else row for i, row in enumerate(old)]
    scored = asr.score(config, [new], old)
    # 100 references, 100 baseline predictions and 10 that merging changed; a pair is one of 100 or of those 10.
    texts = {row[key] for row in [*new, *old] for key in ("reference", "prediction")}
    assert len(texts) == 210 and {calls["normalised"][text] for text in texts} == {1}
    assert len(calls["words"]) == calls["words"].total() == 110
    assert len(calls["characters"]) == calls["characters"].total() == 110
    assert (scored.baseline.wer, scored.baseline.substitutions) == (100 / 400, 100)
    assert (scored.metrics.substitutions, scored.metrics.deletions) == (90, 10)
    assert scored.delta.absolute == 0 and scored.delta.changed == 0


def test_one_side_is_counted_in_its_own_unit_alone(calls):
    config = jobs(["data.normalizer=watched"])[0].config
    rows = [{"id": str(i), "reference": f"Clip {i} it is", "prediction": f"CLIP {i} it was"} for i in range(100)]
    assert asr.counted(config, rows).errors.tolist() == [1] * 100
    assert (calls["normalised"].total(), calls["words"].total(), calls["characters"].total()) == (200, 100, 0)


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        (["e"] * 10, "collapsed: 10 of 10 predictions are 'e'"),
        (
            ["eeee eee"] + [f"word {i}" for i in range(9)],
            "predictions that only repeat the same words or letter: 1 of 10",
        ),
        (
            ["thank you " * 4 + "thank"] + [f"word {i}" for i in range(9)],
            "predictions that only repeat the same words or letter: 1 of 10",
        ),
        (
            ["ha ha ha ha"] + [f"word {i}" for i in range(9)],
            "predictions that only repeat the same words or letter: 1 of 10",
        ),
        ([""] * 10, "collapsed: every prediction is empty"),
        (
            ["a b c d e f g h i j"] + [f"word {i}" for i in range(9)],
            "predictions more than 3 times as long as their reference: 1 of 10",
        ),
    ],
)
def test_collapse_is_said(said, finding):
    rows = [{"reference": f"three words {i}", "prediction": text} for i, text in enumerate(said)]
    found = asr._findings(rows, np.full(10, 3))
    assert any(one.startswith(finding) for one in found), found


def test_what_people_say_is_not_called_a_collapse():
    said = ["no no no", "the cat saw the cat", "bye bye", *(f"word {i}" for i in range(7))]
    rows = [{"reference": f"three words {i}", "prediction": text} for i, text in enumerate(said)]
    assert asr._findings(rows, np.full(10, 3)) == []


def test_what_the_normalizer_drops_is_a_finding():
    rows = [{"id": "1", "reference": "Привет world", "prediction": "world"}]
    scored = asr.score(jobs(["data.normalizer=hubert_english"])[0].config, [rows], rows)
    assert [found for found in scored.findings if "54.5 % of the letters" in found]


def asr_config(*words):
    return jobs(["data.normalizer=multilingual", *words])[0].config


CHINESE = [
    {"id": "1", "reference": "今天天气很好", "prediction": "今天 天气 不好"},  # one of six characters is wrong
    {"id": "2", "reference": "谢谢", "prediction": "谢谢你"},  # one is inserted
]
RIGHT = [row | {"prediction": row["reference"]} for row in CHINESE]


def test_characters_lead_where_words_are_not_written_apart():
    config = asr_config("data.metric=cer")
    counted = asr.counted(config, CHINESE)
    assert counted.errors.tolist() == [1, 1] and counted.lengths.tolist() == [6, 2]
    scored = asr.score(config, [CHINESE], RIGHT)
    assert scored.delta.absolute == scored.metrics.cer == 2 / 8
    assert (scored.metrics.wer, scored.metrics.words) == (2.0, 2)  # words are counted beside, as they stand


def test_the_metric_can_be_said():
    words, characters = asr_config("data.metric=wer"), asr_config("data.metric=cer")
    assert asr.counted(words, CHINESE).lengths.tolist() == [1, 1] and asr.metric(words) == "wer"
    english = [{"id": "1", "reference": "ab cd", "prediction": "ab ce"}]
    assert asr.counted(asr_config(), english).lengths.tolist() == [2]
    assert asr.counted(characters, english).lengths.tolist() == [5] and asr.metric(characters) == "cer"


def test_characters_said_again_and_again_are_a_finding():
    rows = [{"reference": f"天气{i}", "prediction": text} for i, text in enumerate(["谢谢观看" * 4, "很好很好很好"])]
    found = asr._findings(rows, np.full(2, 3), "character")
    assert found == [
        "predictions that only repeat the same words or letter: 1 of 2",
        "predictions more than 3 times as long as their reference: 1 of 2",
    ]


@pytest.mark.parametrize(
    ("text", "least", "is_repeated"),
    [
        ("eee", 3, False),  # a letter, from four times on
        ("eeee", 3, True),
        ("ee ee", 3, True),
        ("eeeea", 3, False),
        ("no no no", 3, False),  # three words may be meant
        ("no no no no", 3, True),
        ("thank you thank you thank", 3, False),  # two words, from three times on
        ("thank you thank you thank you", 3, True),
        ("thank you thank you thank me", 3, False),
        ("one two three one two three one two", 3, False),
        ("one two three one two three one two three", 3, True),
        ("one two three one two three one two three one", 3, True),
        ("", 3, False),
    ],
)
def test_what_is_repeated_and_what_is_not(text, least, is_repeated):
    assert asr._repeats(text.split(), least) == is_repeated


@pytest.mark.parametrize(("text", "is_repeated"), [("ababab", False), ("abababa", False), ("abababab", True)])
def test_characters_are_repeated_from_four_times_on(text, is_repeated):
    """Two characters three times are what people say: 很好很好很好."""
    assert asr._repeats(list(text), 4) == is_repeated
