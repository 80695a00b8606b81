"""Languages by code and by name."""

from __future__ import annotations

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES as THEIRS
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from mam.scoring.language_codes import _SHORT, LANGUAGES, name_of, tag_of, whisper_code


def test_every_language_of_transformers_is_known_by_code_and_by_every_name():
    assert THEIRS == LANGUAGES and list(THEIRS) == list(LANGUAGES)  # in the order of the tokens too
    for name, code in TO_LANGUAGE_CODE.items():
        assert whisper_code(name) == whisper_code(name.upper()) == whisper_code(code) == code


@pytest.mark.parametrize(
    ("said", "code", "tag"),
    [
        ("Italian", "it", "it"),
        (" castilian ", "es", "es"),
        ("yue", "yue", "yue"),
        ("ga", None, "ga"),  # Irish: Whisper has no token for it, references may be in it
        ("klingon", None, None),
        ("PT_br", None, "pt-BR"),
        ("False", None, None),
        ("", None, None),
    ],
)
def test_codes(said, code, tag):
    assert (whisper_code(said), tag_of(said)) == (code, tag)


def test_names_for_a_reader():
    assert name_of("it") == "Italian (it)" and name_of("ga") == "ga"


@pytest.mark.parametrize(
    ("said", "tag"),
    [
        ("jpn", "ja"),
        ("eng", "en"),
        ("deu", "de"),
        ("zh-Hans", "zh-Hans"),
        ("ja_latn", "ja-Latn"),
        ("iw", "he"),
        ("nb", "no"),
    ],
)
def test_long_and_retired_codes_and_scripts(said, tag):
    assert tag_of(said) == tag


def test_every_long_code_stands_for_a_language_that_whisper_knows():
    assert {short for long, short in _SHORT.items() if len(long) == 3} <= set(LANGUAGES) and len(_SHORT) > 120
