"""Text from outside in messages: safe to show, and of bounded length."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mam.errors import LONGEST_LINE, LONGEST_WORD, bullets, meant, shortened, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain λ, é, 日本語\ttab", "plain λ, é, 日本語\ttab"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x9b31m \x00 \x7f \r", "\\x9b31m \\x00 \\x7f \\r"),
        ("a\u202eb\u2066c\u200f", "a\\u202eb\\u2066c\\u200f"),
        ("\udcff\ud800", "\\udcff\\ud800"),
        ("two\nlines", "two\nlines"),
        ("x" * LONGEST_WORD, "x" * LONGEST_WORD),
    ],
)
def test_what_is_shown(text, expected):
    assert shown(text) == expected


def test_long_words_and_lines_are_cut():
    word = shown("a " + "x" * 100_000 + " b")
    assert word.startswith("a xxx") and word.endswith("xxx b") and "... (100000 characters) ..." in word
    assert len(word) < LONGEST_WORD
    line = shown("ab " * 100_000)
    assert len(line) < LONGEST_LINE and "... (300000 characters) ..." in line
    assert shown("\n".join(["x" * 50] * 5)) == "\n".join(["x" * 50] * 5)


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_that_steers_a_terminal_is_left(text):
    made = shown(text)
    assert not [letter for letter in made if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"]
    assert all(len(line) <= LONGEST_LINE + 60 for line in made.split("\n"))
    made.encode()


def test_values_in_messages():
    assert shortened({"a": 1}) == "{'a': 1}"
    assert shortened("x" * 100) == "'" + "x" * 79 + "..."
    assert bullets(["a"]) == "a" and bullets(["a", "b"]) == "2 problems:\n  - a\n  - b"


def test_a_misspelt_name_is_guessed_if_it_is_close():
    assert meant("whisper_minlm", ["whisper_minilm", "hubert_bert"]) == " Did you mean: whisper_minilm?"
    assert meant("foo", ["whisper_minilm"]) == "" == meant("None", [])
