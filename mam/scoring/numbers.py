"""Numbers in digits, spelled out by num2words."""

from __future__ import annotations

import re
from functools import cache

from mam.scoring.languages import habit_of, num2words_code, point_word

LONGEST = 12  # most digits of a quantity; a longer string of digits is a code, read digit by digit
ENGLISH = re.compile(
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.(?P<decimals>\d+)|(?P<ordinal>st|nd|rd|th)\b|(?P<plural>s)\b)?",
    re.IGNORECASE,
)
# Signs that only group thousands, in any language; the multilingual normalizer writes no-break spaces as ٬.
_ALWAYS = "٬'"


def spell_english(match: re.Match[str]) -> str:
    """Spell one match of `ENGLISH` in English words: years are read in pairs, long strings of digits one by one."""
    from num2words import num2words

    whole = match["whole"].replace(",", "")
    if match["ordinal"]:
        return str(num2words(int(whole), to="ordinal"))
    if match["decimals"]:
        return f"{num2words(int(whole))} point {' '.join(num2words(int(digit)) for digit in match['decimals'])}"
    if len(whole) > LONGEST or (len(whole) > 1 and whole.startswith("0")):  # a code, not a quantity
        return " ".join(num2words(int(digit)) for digit in whole)
    is_year = len(match["whole"]) == 4 and (1100 <= int(whole) <= 1999 or 2010 <= int(whole) <= 2099)
    words = str(num2words(int(whole), to="year" if is_year else "cardinal"))
    if match["plural"]:
        return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"
    return words


def spell(text: str, language: str | None) -> str:
    """Return ``text`` with its numbers, in ASCII digits, as cardinals in ``language``.

    Thousands are grouped by the convention of the language. Decimals are read digit by digit after the word for the
    decimal sign, as are numbers that begin with 0 or have more than twelve digits. In a language that num2words does
    not support, digits stay, and only unambiguous grouping signs are removed (at least two groups, or a sign with no
    other use).
    """
    code = num2words_code(language)

    def words(match: re.Match[str]) -> str:
        whole, decimals = re.sub("[^0-9]", "", match["whole"] or match["plain"]), match["decimals"]
        if code is None:
            return f"{whole} {decimals}" if decimals else whole
        parts = [_cardinal(whole, code)]
        if decimals:
            parts += [point_word(language), *(_cardinal(digit, code) for digit in decimals)]
        return f" {' '.join(parts)} "

    return _pattern(*habit_of(language), code is not None).sub(words, text)


@cache
def _pattern(group: str, point: str, is_spelled: bool) -> re.Pattern[str]:
    """Return the pattern of one number: ``whole`` with ``decimals``, or ``plain`` if its signs are ambiguous."""
    grouped = [rf"[0-9]{{1,3}}(?:[{_ALWAYS}][0-9]{{3}})+"]
    if group == ",":  # India groups by two
        grouped.append(r"[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}")
    elif group == ".":
        grouped.append(r"[0-9]{1,3}(?:\.[0-9]{3})+")
    else:
        grouped += [r"[0-9]{1,3}(?:,[0-9]{3}){2,}", r"[0-9]{1,3}(?:\.[0-9]{3}){2,}"]
    if group == " " and is_spelled:  # "12 345" may be two numbers, but a separate number does not begin with 0
        grouped.append(r"[0-9]{1,3}(?: [0-9]{3})* 0[0-9]{2}(?: [0-9]{3})*")
    sign = f"[٫{re.escape(point)}]"
    return re.compile(
        rf"(?<![0-9])(?<![0-9][.,٫٬])(?P<whole>{'|'.join(grouped)}|[0-9]+)(?:{sign}(?P<decimals>[0-9]+))?"
        rf"(?![0-9]|[.,٫٬][0-9])|(?P<plain>[0-9]+)"
    )


@cache
def _cardinal(digits: str, code: str) -> str:
    """Return the words for one number."""
    from num2words import num2words

    if len(digits) > 1 and (len(digits) > LONGEST or digits.startswith("0")):
        return " ".join(_cardinal(digit, code) for digit in digits)
    try:
        words = str(num2words(int(digits), lang=code))
    except OverflowError:  # for Indian languages num2words' limit is below LONGEST
        return " ".join(_cardinal(digit, code) for digit in digits)
    return words.replace(" و ", " و") if code == "ar" else words  # Arabic joins "and" to the next word
