"""Normalizers: what is done to reference and hypothesis alike before words are counted. Raw text is what is stored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import import_module

Normalizer = Callable[[str], str]
NORMALIZERS: dict[str, Normalizer] = {}

# Letters that Unicode does not decompose into a base letter and an accent.
_FOLD = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "ł": "l", "Ł": "L"}
)
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'"})
_NUMBER = re.compile(
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.(?P<decimals>\d+)|(?P<ordinal>st|nd|rd|th)\b|(?P<plural>s)\b)?",
    re.IGNORECASE,
)


def normalizer(function: Normalizer) -> Normalizer:
    """Register ``function`` under its own name."""
    NORMALIZERS[function.__name__] = function
    return function


@normalizer
def none(text: str) -> str:
    """The text as it is; words are what white space separates."""
    return text


@normalizer
def hubert_english(text: str) -> str:
    """Upper case A-Z and apostrophe, as CTC models trained on LibriSpeech write.

    Accents are folded ("Müller" is MULLER), digits spelled out (1862 is EIGHTEEN SIXTY TWO, 3.5 THREE POINT FIVE,
    21st TWENTY FIRST, 90s NINETIES), hyphens split words, all else separates them too. Apostrophes stay inside
    words only.
    """
    text = text.translate(_APOSTROPHES).translate(_FOLD)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = _NUMBER.sub(lambda match: f" {_spell_out(match)} ", text)
    text = re.sub(r"[^A-Z']+", " ", text.upper())
    return " ".join(re.sub(r"(?<![A-Z])'+|'+(?![A-Z])", " ", text).split())


@normalizer
def whisper_english(text: str) -> str:
    """What OpenAI published Whisper's results with: digits, American spelling, contractions opened, fillers dropped.

    Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, appendix C; as the package
    whisper-normalizer has it, with its list of spellings.
    """
    return str(_whisper("english", "EnglishTextNormalizer")(text)).strip()


@normalizer
def basic(text: str) -> str:
    """Whisper's normalizer for any language: lower case, without punctuation, brackets or what is in them."""
    return str(_whisper("basic", "BasicTextNormalizer")(text)).strip()


@cache
def _whisper(module: str, name: str) -> Normalizer:
    """One of whisper-normalizer's classes, made once: it reads its list of spellings from disk."""
    made: Normalizer = getattr(import_module(f"whisper_normalizer.{module}"), name)()
    return made


def _spell_out(match: re.Match[str]) -> str:
    """English words for one number: years as they are read, longer strings of digits one by one."""
    from num2words import num2words

    whole = match["whole"].replace(",", "")
    if match["ordinal"]:
        return str(num2words(int(whole), to="ordinal"))
    if match["decimals"]:
        return f"{num2words(int(whole))} point {' '.join(num2words(int(digit)) for digit in match['decimals'])}"
    if len(whole) > 12 or (len(whole) > 1 and whole.startswith("0")):  # a code, not a quantity
        return " ".join(num2words(int(digit)) for digit in whole)
    is_year = len(match["whole"]) == 4 and (1100 <= int(whole) <= 1999 or 2010 <= int(whole) <= 2099)
    words = str(num2words(int(whole), to="year" if is_year else "cardinal"))
    if match["plural"]:
        return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"
    return words
