"""Word and character error counts per utterance, aligned by jiwer, and corpus rates computed from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
import numpy as np
from numpy.typing import NDArray

from mam.scoring.bounds import Count, Positive, Rate
from mam.scoring.languages import UNSPACED

Counts = NDArray[np.int64]
Token = Literal["word", "character"]
UNITS: tuple[Token, ...] = ("word", "character")
SUBSTITUTIONS, DELETIONS, INSERTIONS, LENGTH = range(4)  # columns of a Counts array
_NEEDLESS = re.compile(f"(?<=[{UNSPACED}]) | (?=[{UNSPACED}])")


@dataclass(frozen=True)
class Rates:
    """Corpus rates as fractions; ``words`` is the number of reference words, the denominator of ``wer``."""

    wer: Rate
    cer: Rate
    substitutions: Count
    deletions: Count
    insertions: Count
    words: Positive


BLOCK = 1000  # utterances aligned at a time; jiwer needs some 3 kB for each of them


def tokens(text: str, token: Token) -> list[str]:
    """Return the words of a text, separated by white space of any kind, or its characters.

    Among characters, a run of white space is one space, and none at either end. A space beside a script that is written
    without spaces (Chinese, Japanese, Thai, ...) is not counted, since it is optional there.
    """
    words = text.split()
    return words if token == "word" else list(_NEEDLESS.sub("", " ".join(words)))


def error_counts(references: Sequence[str], hypotheses: Sequence[str], token: Token) -> Counts:
    """Count substitutions, deletions, insertions and reference length per utterance, ``[n, 4]`` int64.

    Both sides are split by `tokens`, so that any white space separates words, not only the space at which jiwer splits.
    An utterance with an empty reference has length 0, and every token of its hypothesis is an insertion: it adds to the
    errors of the corpus but not to its length.

    Raises:
        ValueError: The two lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    blocks = [
        _counts(references[start : start + BLOCK], hypotheses[start : start + BLOCK], token)
        for start in range(0, len(references), BLOCK)
    ]
    return np.concatenate([np.zeros((0, 4), dtype=np.int64), *blocks])


def _counts(references: Sequence[str], hypotheses: Sequence[str], token: Token) -> Counts:
    reference_tokens = [tokens(text, token) for text in references]
    hypothesis_tokens = [tokens(text, token) for text in hypotheses]
    counts = np.zeros((len(references), 4), dtype=np.int64)
    positions = [i for i, reference in enumerate(reference_tokens) if reference]
    for i in set(range(len(references))) - set(positions):  # jiwer does not align an empty reference
        counts[i, INSERTIONS] = len(hypothesis_tokens[i])
    if positions:
        process = jiwer.process_words if token == "word" else jiwer.process_characters
        separator = " " if token == "word" else ""
        joined_references = [separator.join(reference_tokens[i]) for i in positions]
        joined_hypotheses = [separator.join(hypothesis_tokens[i]) for i in positions]
        aligned = process(joined_references, joined_hypotheses)
        for i, reference, chunks in zip(positions, aligned.references, aligned.alignments, strict=True):
            counts[i, LENGTH] = len(reference)
            for chunk in chunks:
                if chunk.type == "substitute":
                    counts[i, SUBSTITUTIONS] += chunk.ref_end_idx - chunk.ref_start_idx
                elif chunk.type == "delete":
                    counts[i, DELETIONS] += chunk.ref_end_idx - chunk.ref_start_idx
                elif chunk.type == "insert":
                    counts[i, INSERTIONS] += chunk.hyp_end_idx - chunk.hyp_start_idx
    return counts


def pair_counts(
    pairs: Sequence[tuple[str, str]], normalise: Callable[[str], str], units: Sequence[Token] = UNITS
) -> dict[Token, Counts]:
    """Count the errors of (reference, hypothesis) pairs for each unit, ``[n, 4]`` each, as `error_counts` does.

    ``pairs`` are raw. Each text is normalised once, and equal normalised pairs are aligned once, because the outputs of
    merged and unmerged models largely agree.
    """
    texts = dict.fromkeys(text for pair in pairs for text in pair)
    normalised = {text: normalise(text) for text in texts}
    spelled = [(normalised[reference], normalised[hypothesis]) for reference, hypothesis in pairs]
    distinct = {pair: i for i, pair in enumerate(dict.fromkeys(spelled))}
    places = np.array([distinct[pair] for pair in spelled], dtype=np.int64)
    sides = [reference for reference, _ in distinct], [hypothesis for _, hypothesis in distinct]
    return {unit: error_counts(*sides, unit)[places] for unit in units}


def errors(counts: Counts) -> Counts:
    """Return substitutions + deletions + insertions per utterance, ``[n]``."""
    summed: Counts = counts[:, :LENGTH].sum(axis=1)
    return summed


def rates(words: Counts, characters: Counts) -> Rates:
    """Compute rates pooled over the corpus: all errors over all reference units.

    Raises:
        ValueError: No reference contains a word, so no rate is defined.
    """
    if not words[:, LENGTH].sum():
        raise ValueError("no reference words are left after normalisation")
    total = words.sum(axis=0)
    return Rates(
        wer=float(errors(words).sum() / total[LENGTH]),
        cer=float(errors(characters).sum() / characters[:, LENGTH].sum()),
        substitutions=int(total[SUBSTITUTIONS]),
        deletions=int(total[DELETIONS]),
        insertions=int(total[INSERTIONS]),
        words=int(total[LENGTH]),
    )
