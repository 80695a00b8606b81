import pytest

from mam.scoring.text import NORMALIZERS, hubert_english, none


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
    assert set(NORMALIZERS) == {"none", "hubert_english"}
