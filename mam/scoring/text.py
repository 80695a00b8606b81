"""Normalizers, applied to reference and hypothesis alike before words are counted; raw text is what is stored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, partial

from mam.errors import MamError, shortened
from mam.registry import refuse_called, register
from mam.scoring.languages import bare_code
from mam.scoring.leaderboard import open_asr_leaderboard
from mam.scoring.multilingual import multilingual
from mam.scoring.numbers import ENGLISH, spell_english
from mam.scoring.whisper import of_whisper

Normalizer = Callable[[str], str]
GROWTH = 100  # letters that a normalizer may make of one
NORMALIZERS: dict[str, Normalizer] = {}
_BY_LANGUAGE: dict[str, Callable[..., str]] = {}  # normalizers that also take the language

# Letters that Unicode does not decompose into a base letter and an accent.
_FOLD = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "ł": "l", "Ł": "L"}
)
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'"})


def normalizer(function: Normalizer) -> Normalizer:
    """Register ``function`` under its own name."""
    refuse_called("normalizer", function)
    register("normalizer", function.__name__, function, (NORMALIZERS, function), takes="text")
    return function


def language_normalizer(function: Callable[..., str]) -> Callable[..., str]:
    """Register ``function``, which also takes the language, under its own name."""
    refuse_called("language_normalizer", function)
    without_language = partial(function, language=None)
    register(
        "normalizer",
        function.__name__,
        function,
        (NORMALIZERS, without_language),
        (_BY_LANGUAGE, function),
        takes="text, language",
    )
    return function


def default_normalizer(language: str | None, is_whisper: bool) -> str:
    """Return the name of the normalizer for a language: that of the model family for English, else `multilingual`."""
    if bare_code(language) == "en":
        return "whisper_english" if is_whisper else "hubert_english"
    return "multilingual"


def normalizer_for(name: str, language: str | None) -> Normalizer:
    """Return the normalizer registered as ``name``, bound to ``language`` if it depends on it.

    The function that is returned raises MamError if the normalizer gives anything but text.
    """
    if name not in NORMALIZERS:
        raise MamError(f"normalizer={name}: not known. If a plug-in provides it, set plugins=[FILE.py]")
    chosen = partial(_BY_LANGUAGE[name], language=language) if name in _BY_LANGUAGE else NORMALIZERS[name]
    # An error in a plug-in is reported with its line elsewhere.
    is_mams = NORMALIZERS[name].__module__.startswith("mam.")

    def normalise(text: str) -> str:
        try:
            normalised = chosen(text)
        except (AssertionError, ValueError, OverflowError, RecursionError) as error:  # e.g. of numbers of 5,000 digits
            if not is_mams:
                raise
            raise MamError(f"normalizer={name}: failed on {shortened(text)} ({shortened(str(error))})") from error
        if not isinstance(normalised, str):
            raise MamError(
                f"normalizer={name}: returns a {type(normalised).__name__} for {text[:40]!r}. It must return text"
            )
        if len(normalised) > GROWTH * (len(text) + 10):  # a comparison of such texts would not end
            raise MamError(f"normalizer={name}: returns {len(normalised):,} letters for {shortened(text)}")
        return normalised

    return normalise


@normalizer
def none(text: str) -> str:
    """No normalisation; words are separated by white space."""
    return text


@normalizer
def hubert_english(text: str) -> str:
    """Upper-case A-Z and apostrophes, as written by CTC models trained on LibriSpeech.

    Accents are folded ("Müller" is MULLER), digits spelled out (1862 is EIGHTEEN SIXTY TWO, 3.5 THREE POINT FIVE, 21st
    TWENTY FIRST, 90s NINETIES). Hyphens and all other characters split words. Apostrophes stay only inside words.
    """
    text = text.translate(_APOSTROPHES).translate(_FOLD)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = ENGLISH.sub(lambda match: f" {spell_english(match)} ", text)
    text = re.sub(r"[^A-Z']+", " ", text.upper())
    return " ".join(re.sub(r"(?<![A-Z])'+|'+(?![A-Z])", " ", text).split())


@normalizer
def whisper_english(text: str) -> str:
    """OpenAI's English normalizer for Whisper: digits, American spelling, contractions expanded, fillers removed.

    Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, appendix C; implemented by the
    package whisper-normalizer, with its list of spellings.
    """
    return str(_whisper("english", "EnglishTextNormalizer")(text)).strip()


@normalizer
def basic(text: str) -> str:
    """Whisper's normalizer for any language: lower case, without punctuation and without text in brackets."""
    return str(_whisper("basic", "BasicTextNormalizer")(text)).strip()


normalizer(open_asr_leaderboard)
language_normalizer(multilingual)


@cache
def _whisper(module: str, name: str) -> Normalizer:
    instance: Normalizer = of_whisper(module, name)
    return instance
