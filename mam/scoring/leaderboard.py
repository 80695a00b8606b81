"""The rules for English of the open ASR leaderboard, on top of whisper-normalizer."""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby
from typing import Any

from mam.scoring.whisper import of_whisper

FILLERS = "hmm mm mhm mmm uh um ah aha ahh ahm eh ehehe em hm huh hum mhum uhm umm uhuh"
IS = "it he she what that who here there how when where why this"  # 's after these words is read as "is"
JOINED = "wi fi, hi fi, lo fi, sci fi, e mail, e book, e commerce, x ray, t shirt, a m, p m, how ever"
SPELT = {"et cetera": "etc", "al right": "alright", "all right": "alright", "o k": "okay"}
SPELLINGS = {"ok": "okay", "kay": "okay", "etcetera": "etc"}
OWN = ("kinda", "sorta", "dunno", "cause")  # words that whisper-normalizer expands, and neither Whisper nor they do
COMMON = ("a", "i")  # letters that are words


def open_asr_leaderboard(text: str) -> str:
    """The Open ASR leaderboard's English normalizer: like Whisper's, with more fillers; joins acronyms and compounds.

    huggingface/open_asr_leaderboard, normalizer/normalizer.py as of July 2026 (f83d546). Numbers, symbols, spellings
    and contractions are those of whisper-normalizer. What differs: 's becomes "is" only after pronouns and the like;
    single letters and digits in a row are one word (b b c is bbc; with a or i only from three on); wi fi, e mail and
    others are one word; ok is okay.

    Not covered: their list of spellings of first names (allan is allen); in their scoring, words that are only divided
    in another way (white paper, whitepaper) are no errors, and examples are left out whose reference is empty after
    normalisation or says "ignore time segment in scoring". Here these are scored as any other.
    """
    return str(_english()(text)).strip()


@cache
def _english() -> Any:
    """Create Whisper's normalizer with the leaderboard's own steps before and after numbers and spellings."""
    english = of_whisper("english", "EnglishTextNormalizer")
    numbers, spellings = english.standardize_numbers, english.standardize_spellings
    english.ignore_patterns = rf"\b({FILLERS.replace(' ', '|')})\b"
    general, own = r"'s\b", {rf"\b{word}\b" for word in OWN}
    pronouns = {rf"\b({IS.replace(' ', '|')})'s\b": r"\1 is"}
    replacers: dict[str, str] = {}
    for pattern, replacement in english.replacers.items():  # in this order
        replacers |= pronouns if pattern == general else {pattern: replacement}
    english.replacers = {pattern: text for pattern, text in replacers.items() if pattern not in own}
    english.standardize_numbers = lambda text: numbers(_with_compounds(text))
    english.standardize_spellings = lambda text: _with_acronyms(
        " ".join(SPELLINGS.get(word, word) for word in spellings(text).split())
    )
    return english


def _with_compounds(text: str) -> str:
    """Write the known compounds as one word; hyphens are blanks here already."""
    compounds = SPELT | {pair: pair.replace(" ", "") for pair in JOINED.split(", ")}
    for pair, word in compounds.items():
        first, second = pair.split()
        text = re.sub(rf"\b{first}\s+{second}\b", word, text)
    return text


def _with_acronyms(text: str) -> str:
    """Join single letters and digits in a row: from two on, from three on if a or i is among them."""
    words: list[str] = []
    for is_single, run in groupby(text.split(), lambda word: len(word) == 1 and word.isalnum()):
        letters = list(run)
        least = 3 if any(letter in COMMON for letter in letters) else 2
        words += ["".join(letters)] if is_single and len(letters) >= least else letters
    return " ".join(words)
