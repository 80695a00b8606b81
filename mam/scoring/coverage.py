"""The losses of a normalizer on a corpus: letters that it cannot write, and text in brackets."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from mam.scoring.multilingual import SILENT
from mam.scoring.text import normalizer_for

NOTED = 0.02  # share of lost letters above which a note is written
_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+\)")  # the pattern of Whisper's normalizers
# Accents modify the preceding letter, which remains after folding. Marks of other scripts are vowels of their own.
_ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")


def lost_letters(raw: Sequence[str], normalise: Callable[[str], str]) -> float:
    """Return the share of the letters of ``raw`` that ``normalise`` deletes; 0 if there are none.

    Letters are Unicode letters and combining marks: ü is one letter, and each vowel sign of Hindi counts. A letter that
    becomes other letters (ß to ss, ü to u, Mr to mister) or digits is not lost. Lost letters are those in deleted
    brackets, in words that vanish, and letters that vanish between others.
    """
    words: Counter[str] = Counter()
    lost = total = 0
    for text in raw:
        kept = _without_deleted(text, normalise)
        total += len(_letters(text))
        lost += len(_letters(text)) - len(_letters(kept))
        words.update(kept.split())
    vanishing: dict[str, bool] = {}
    for word, times in words.items():
        letters = _letters(word)
        if letters and not normalise(word).split():
            lost += times * len(letters)
            continue
        for letter in letters:
            if letter not in vanishing:
                vanishing[letter] = _vanishes(letter, normalise)
        lost += times * sum(vanishing[letter] for letter in letters)
    return lost / total if total else 0.0


def corpus_notes(name: str, language: str | None, references: Sequence[str]) -> list[str]:
    """Return notes for the reader about losses of the normalizer ``name`` on ``references``, one sentence each."""
    normalise = normalizer_for(name, language)
    notes = []
    share = lost_letters(references, normalise)
    if share > NOTED:
        notes.append(
            f"data.normalizer={name} removes {100 * share:.1f} % of the letters of the references, which are then not"
            " scored. data.normalizer=multilingual keeps the letters of every language"
        )
    enclosed = sum(any(_deleted(text, normalise)) for text in references)
    if enclosed:
        notes.append(
            f"data.normalizer={name} deletes text in brackets (references with such text: {enclosed} of"
            f" {len(references)})."
            " If that text was spoken, set data.normalizer=multilingual"
        )
    return notes


def _letters(text: str) -> list[str]:
    """Return the letters and marks except silent ones; a letter and its accent are one if Unicode composes them."""
    composed = SILENT.sub("", unicodedata.normalize("NFC", text))
    return [c for c in composed if unicodedata.category(c)[0] in "LM"]


def _vanishes(letter: str, normalise: Callable[[str], str]) -> bool:
    """Return whether two letters around ``letter`` come out as if it were absent or a space.

    An accent leaves its base letter behind, so it is lost only if a space in its place splits the word.
    """
    if _ACCENTS.match(letter):
        return len(normalise(f"q{letter}q").split()) > 1
    normalised = _squeezed(normalise(f"a{letter}a"))
    return normalised in (_squeezed(normalise("aa")), _squeezed(normalise("a a")))


def _deleted(text: str, normalise: Callable[[str], str]) -> Iterator[str]:
    """Yield the bracketed parts of ``text`` that contain writing and are deleted by ``normalise``."""
    if not _BRACKETED.search(text):
        return
    whole = _squeezed(normalise(text))
    for match in _BRACKETED.finditer(text):
        without = text[: match.start()] + text[match.end() :]
        if re.search(r"\w", match[0]) and _squeezed(normalise(without)) == whole:
            yield match[0]


def _without_deleted(text: str, normalise: Callable[[str], str]) -> str:
    for part in list(_deleted(text, normalise)):
        text = text.replace(part, "", 1)
    return text


def _squeezed(text: str) -> str:
    return "".join(text.split())
