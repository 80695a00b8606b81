"""A normalizer for every language: keeps letters and marks of all scripts, spells out numbers, drops the rest."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from mam.scoring.languages import bare_code
from mam.scoring.numbers import spell

APOSTROPHES = "'’‘ʼʻ`´＇׳"
# Silent letters and marks: elongation, variation selectors, fillers, the grapheme joiner.
SILENT = re.compile(
    "[\u0640\u07fa\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u20e3\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Malayalam's final consonants: sequences before Unicode 5.1 -> single letters since.
_CHILLU = {"ണ്\u200d": "ൺ", "ന്\u200d": "ൻ", "ര്\u200d": "ർ", "ല്\u200d": "ൽ", "ള്\u200d": "ൾ", "ക്\u200d": "ൿ"}
_NO_BREAK = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")


def multilingual(text: str, language: str | None = None) -> str:
    """For every language: lower case, all letters and combining marks kept, numbers spelled out, the rest splits words.

    - Unicode NFKC: full-width, half-width and presentation forms become plain letters; separate accents are joined.
    - Case folding: ß becomes ss, as in capitals. İ becomes i; in Turkish and Azerbaijani I becomes ı.
    - Apostrophes (’ ‘ ʼ ʻ ` ´ ׳ are equivalent) stay inside words; hyphens split. Gershayim and Catalan l·l do not
      split.
    - Zero-width joiners, soft hyphens and direction marks are dropped without splitting a word, because they change
      its appearance but not its spelling. So are tatweel and variation selectors. A zero-width space splits.
    - Digits of every script become ASCII digits. In languages that num2words supports, they are spelled out as
      cardinals, including ordinals ("3.", "21st") and years; in others they stay.
    """
    for old, new in _CHILLU.items():
        text = text.replace(old, new)
    text = _NO_BREAK.sub("٬", text)
    text = SILENT.sub("", unicodedata.normalize("NFKC", "".join(map(_plain, text))))
    text = spell("".join(c if c.isascii() else _digit(c) for c in text), language)
    text = re.sub(r"(?<=[\u05d0-\u05ea])[\"״”“](?=[\u05d0-\u05ea])", "", text)
    text = re.sub(r"(?<=l)[·‧](?=l)", "", text, flags=re.IGNORECASE)
    text = "".join(c if _is_written(c) else " " for c in folded(text, language))
    return " ".join(re.sub(r"'{2,}|(?<![^\s'])'|'(?![^\s'])", " ", text).split())


def folded(text: str, language: str | None = None) -> str:
    """Return ``text`` without case and compatibility forms: Unicode's NFKC_Casefold, and i without a second dot."""
    if bare_code(language) in ("tr", "az"):
        text = unicodedata.normalize("NFC", text).replace("I", "ı")
    for _ in range(2):
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", re.sub("i\u0307+", "i", text))


@cache
def _plain(character: str) -> str:
    """Return the replacement of ``character`` before NFKC."""
    if character in APOSTROPHES:
        return "'"
    category, compatible = unicodedata.category(character), unicodedata.normalize("NFKC", character)
    if character == "\u200b":
        return " "
    if category == "Cf":
        return ""
    if compatible.startswith(" ") and len(compatible) > 1:  # a spacing accent such as ´
        return compatible.strip() if category.startswith("L") else " "
    if any(c in APOSTROPHES for c in compatible):  # the deprecated ŉ
        return "".join(map(_plain, compatible))
    if category == "No" and compatible != character:  # keep 10² from becoming 102, and 2½ from 21⁄2
        return f" {compatible} "
    return character


@cache
def _digit(character: str) -> str:
    """Return the ASCII digit for a digit of any script; other characters stay."""
    return str(unicodedata.decimal(character, character))


@cache
def _is_written(character: str) -> bool:
    """Return whether a character is a letter, mark, number or apostrophe, not a surrogate, symbol or punctuation."""
    return character == "'" or unicodedata.category(character)[0] in "LMN"
