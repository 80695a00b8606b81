"""What holds for normalizers on any text at all."""

import unicodedata
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mam.scoring.coverage import corpus_notes, lost_letters
from mam.scoring.languages import _NUM2WORDS, _NUM2WORDS_REGIONS
from mam.scoring.multilingual import APOSTROPHES, SILENT, folded
from mam.scoring.numbers import _cardinal
from mam.scoring.text import NORMALIZERS, normalizer_for
from mam.scoring.wer import error_counts, errors, tokens

ANY = st.text(st.characters(codec=None), max_size=30)  # surrogates and unassigned characters too
SPOKEN = st.text(
    st.sampled_from("aZéßİıIœ ’'-.,0123456789٣३๓½²\u0301\u0307\u200c\u200b\u00a0\tжЙाम्שָׁสำ今日ʼ´¨ᾈ\u0345ﬁ[x](y)"),
    max_size=20,
)
LETTERS = st.text(st.characters(codec=None, categories=["L", "M", "Zs"]), max_size=20)
NUMBERS = (*range(131), 200, 365, 999, 1000, 1001, 1100, 1234, 2024, 10**4, 99_999, 10**6, 1_234_567, 10**9, 10**12 - 1)
SPELLED = sorted({*_NUM2WORDS.values(), *_NUM2WORDS_REGIONS})


@pytest.mark.parametrize("name", sorted(NORMALIZERS))
@given(ANY | SPOKEN)
def test_no_text_is_refused(name, text):
    made = normalizer_for(name, "de")(text)
    assert isinstance(made, str) and corpus_notes(name, "de", [text]) is not None


# Whisper's normalizers are as published and change their own output: "(a)b(c)" and digits are read once more.
@pytest.mark.parametrize("name", ["none", "hubert_english", "multilingual"])
@pytest.mark.parametrize("language", [None, "de", "fr", "tr", "hi", "zh", "bg"])
@given(ANY | SPOKEN)
def test_normalising_twice_changes_nothing(name, language, text):
    normalise = normalizer_for(name, language)
    once = normalise(text)
    assert normalise(once) == once


def letters(text):
    """Letters and marks that `multilingual` says it keeps."""
    kept = "".join(c for c in text if c not in APOSTROPHES and not is_accent_alone(c))
    return Counter(
        c for c in SILENT.sub("", folded(kept)) if unicodedata.category(c)[0] in "LM" and c not in APOSTROPHES
    )


def is_accent_alone(character):
    starts = unicodedata.normalize("NFKC", character).startswith(" ")
    return starts and not unicodedata.category(character).startswith("L")


@given(LETTERS)
@example("Straße İstanbul नमस्ते สวัสดี น้ำ שָׁלוֹם ẹ̀kọ́ ﷺ ﬁ \ufe77 ŉ")
def test_multilingual_drops_no_letter_and_no_mark(text):
    assert letters(NORMALIZERS["multilingual"](text)) == letters(text)


@given(LETTERS)
def test_lost_letters_are_a_share(text):
    for normalise in (NORMALIZERS["hubert_english"], NORMALIZERS["basic"]):
        assert 0 <= lost_letters([text], normalise) <= 1


@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=4), st.sampled_from(["word", "character"]))
def test_lengths_are_what_units_counts_whatever_the_text(pairs, token):
    references, hypotheses = zip(*pairs, strict=True)
    counts = error_counts(references, hypotheses, token)
    assert counts[:, 3].tolist() == [len(tokens(text, token)) for text in references]
    assert all(
        n >= abs(len(tokens(r, token)) - len(tokens(h, token))) for n, (r, h) in zip(errors(counts), pairs, strict=True)
    )
    assert error_counts(references, references, token)[:, :3].sum() == 0


@pytest.mark.parametrize("code", SPELLED)
def test_every_language_spells_every_size_of_number(code):
    for number in NUMBERS:
        words = _cardinal(str(number), code)
        assert words.strip() and not any(c.isdigit() for c in words), (number, words)
