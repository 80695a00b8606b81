"""Languages by code and by name."""

from __future__ import annotations

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES as THEIRS
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from mam.languages import LANGUAGES, code_of, name_of, tag_of


def test_every_language_of_transformers_is_known_by_code_and_by_every_name():
    assert THEIRS == LANGUAGES and list(THEIRS) == list(LANGUAGES)  # in the order of the tokens too
    for name, code in TO_LANGUAGE_CODE.items():
        assert code_of(name) == code_of(name.upper()) == code_of(code) == code


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
    assert (code_of(said), tag_of(said)) == (code, tag)


def test_names_for_a_reader():
    assert name_of("it") == "Italian (it)" and name_of("ga") == "ga"
