import pytest

from mam.scoring.languages import language_of_alphabet
from mam.scoring.text import (
    NORMALIZERS,
    basic,
    default_normalizer,
    hubert_english,
    none,
    normalizer_for,
    whisper_english,
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Hello, world!", "HELLO WORLD"),
        ("Müller's naïve café", "MULLER'S NAIVE CAFE"),
        ("Straße, Ærø, Łódź", "STRASSE AERO LODZ"),
        ("twenty-one well-known", "TWENTY ONE WELL KNOWN"),
        ("it’s the dogs' 'bone'", "IT'S THE DOGS BONE"),
        ("in 1862", "IN EIGHTEEN SIXTY TWO"),
        ("2005 and 2015", "TWO THOUSAND AND FIVE AND TWENTY FIFTEEN"),
        ("1,234 or 3.05", "ONE THOUSAND TWO HUNDRED AND THIRTY FOUR OR THREE POINT ZERO FIVE"),
        ("the 1st, 22nd and 3RD", "THE FIRST TWENTY SECOND AND THIRD"),
        ("the 1960s and 90s", "THE NINETEEN SIXTIES AND NINETIES"),
        ("007", "ZERO ZERO SEVEN"),
        ("42-line", "FORTY TWO LINE"),
        ("", ""),
        ("... -- !", ""),
    ],
)
def test_hubert_english(raw, expected):
    assert hubert_english(raw) == expected


def test_normalising_twice_changes_nothing():
    once = hubert_english("Mr. O'Neil paid £12.50 on the 3rd — twice!")
    assert hubert_english(once) == once


def test_none_leaves_text_alone():
    assert none("As It, is.") == "As It, is."


@pytest.mark.parametrize(
    ("raw", "english", "simple"),
    [
        ("Mr. Müller's colour", "mister muller is color", "mr müller s colour"),
        ("twenty-one thousand and two", "21002", "twenty one thousand and two"),
        ("It cost $1,234.56.", "it cost $1234.56", "it cost 1 234 56"),
        ("£20 million, 3.5 percent", "£20000000 3.5%", "20 million 3 5 percent"),
        ("the 21st, the third", "the 21st the 3rd", "the 21st the third"),
        ("in the 1960s, in nineteen sixty-three", "in the 1960s in 1963", "in the 1960s in nineteen sixty three"),
        ("J. R. R. Tolkien", "j r r tolkien", "j r r tolkien"),
        ("Um, I can't [coughs] (really)", "i can not", "um i can t"),
        ("", "", ""),
    ],
)
def test_whispers_normalizers(raw, english, simple):
    assert (whisper_english(raw), basic(raw)) == (english, simple)


def test_the_registry_is_complete():
    assert set(NORMALIZERS) == {
        "none",
        "hubert_english",
        "whisper_english",
        "basic",
        "open_asr_leaderboard",
        "multilingual",
    }


@pytest.mark.parametrize(
    ("language", "is_whisper", "expected"),
    [
        ("en", True, "whisper_english"),
        ("en", False, "hubert_english"),
        ("en-GB", False, "hubert_english"),
        ("de", True, "multilingual"),
        ("de", False, "multilingual"),
        (None, False, "multilingual"),
        (None, True, "multilingual"),
        ("enm", False, "multilingual"),
    ],
)
def test_the_default_follows_the_language(language, is_whisper, expected):
    assert default_normalizer(language, is_whisper) == expected and expected in NORMALIZERS


def test_a_normalizer_is_told_the_language_where_it_takes_one():
    assert normalizer_for("multilingual", "de")("3") == "drei" and normalizer_for("multilingual", "fr")("3") == "trois"
    assert normalizer_for("hubert_english", "de")("It's 3.") == hubert_english("It's 3.")


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "en"),
        ("abc", "en"),
        (["A", "'", "THE"], "en"),
        ("abcä", None),
        ("абв", None),
        ("abc-", None),
        ("ab1", None),
        ("'", None),
        ("", None),
    ],
)
def test_language_of_alphabet(letters, expected):
    assert language_of_alphabet(letters) == expected
