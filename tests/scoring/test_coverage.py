"""How much of a corpus a normalizer loses, counted by hand."""

import pytest

from mam.scoring.coverage import corpus_notes, lost_letters
from mam.scoring.text import NORMALIZERS


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("hubert_english", ["Am 3. Mai: Müller, Straße, Ærø"], 0),
        ("hubert_english", ["Mu\u0308ller"], 0),  # an accent typed apart
        ("hubert_english", ["Привет world"], 6 / 11),
        ("hubert_english", ["Привет", "hello world"], 6 / 16),
        ("hubert_english", ["Hello [coughs] there"], 0),  # keeps what is in brackets
        ("hubert_english", ["xжx xжx"], 2 / 6),
        ("basic", ["नमस्ते"], 2 / 6),  # न म स ् त े: the virama and the vowel sign are marks
        ("basic", ["สวัสดี"], 2 / 6),  # ส ว ั ส ด ี
        ("basic", ["น้ำ"], 1 / 3),  # the tone mark; of sara am the vowel is left
        ("basic", ["Müller", "Привет"], 0),
        ("basic", ["Ẹ̀kọ́"], 2 / 5),  # ẹ with a grave is no letter of Unicode; its accent becomes a blank
        ("hubert_english", ["Ẹ̀kọ́"], 0),
        ("basic", ["שָׁלוֹם"], 3 / 7),  # points
        ("basic", ["Hello (hi) you [x]"], 3 / 11),
        ("whisper_english", ["Hello (um, yes) there"], 5 / 15),
        ("whisper_english", ["um hello"], 2 / 7),  # a filler is deleted
        ("whisper_english", ["Mr. Müller's colour, twenty-one"], 0),
        ("none", ["Привет नमस्ते 你好"], 0),
        ("multilingual", ["Привет नमस्ते 你好 สวัสดี น้ำ שָׁלוֹם İstanbul Straße مـــرحبا Hawaiʻi"], 0),
        ("multilingual", ["(in brackets)"], 0),
        ("hubert_english", ["123 ..."], 0),
        ("hubert_english", [], 0),
    ],
)
def test_lost_letters(name, raw, expected):
    assert lost_letters(raw, NORMALIZERS[name]) == pytest.approx(expected)


def test_a_plain_function_is_judged_too():
    assert lost_letters(["naïve café"], lambda text: "".join(c if c.isascii() else " " for c in text)) == 2 / 9


def test_a_note_names_share_and_remedy():
    notes = corpus_notes("hubert_english", "ru", ["Привет world"])
    assert notes == [
        "data.normalizer=hubert_english removes 54.5 % of the letters of the references, which are then not scored."
        " data.normalizer=multilingual keeps the letters of every language"
    ]


def test_no_note_up_to_two_percent():
    assert corpus_notes("hubert_english", None, ["a" * 98 + "жж"]) == []
    assert len(corpus_notes("hubert_english", None, ["a" * 97 + "жжж"])) == 1
    assert corpus_notes("multilingual", "hi", ["नमस्ते [हँसी]"]) == []


def test_a_note_counts_references_in_brackets():
    references = ["yes " * 50 + "(really)", "no " * 50, "[x] " + "a b " * 50, "( ) empty " * 20]
    for name in ("whisper_english", "basic"):
        notes = corpus_notes(name, "en", references)
        assert notes == [
            f"data.normalizer={name} deletes text in brackets (references with such text: 2 of 4). If that text was"
            " spoken, set data.normalizer=multilingual"
        ]
    assert corpus_notes("hubert_english", "en", references) == []
