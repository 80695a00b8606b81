"""Word and character error counts per utterance, aligned by jiwer, and the corpus rates made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import jiwer
import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
SUBSTITUTIONS, DELETIONS, INSERTIONS, LENGTH = range(4)  # columns of a Counts array


@dataclass(frozen=True)
class Rates:
    """Corpus rates as fractions; ``words`` is the number of reference words, the denominator of ``wer``."""

    wer: float
    cer: float
    substitutions: int
    deletions: int
    insertions: int
    words: int

    def as_dict(self) -> dict[str, float | int]:
        """The fields by name."""
        return asdict(self)


def error_counts(references: Sequence[str], hypotheses: Sequence[str], unit: Literal["word", "character"]) -> Counts:
    """Per utterance: substitutions, deletions, insertions, reference length. ``[n, 4]`` int64.

    An utterance whose reference is empty has length 0, and every unit of its hypothesis is an insertion: it adds to
    the errors of the corpus and not to its length.

    Raises:
        ValueError: the two lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    process = jiwer.process_words if unit == "word" else jiwer.process_characters
    counts = np.zeros((len(references), 4), dtype=np.int64)
    spoken = [i for i, reference in enumerate(references) if reference.strip()]
    for i in set(range(len(references))) - set(spoken):  # jiwer does not align an empty reference
        counts[i, INSERTIONS] = len(hypotheses[i].split() if unit == "word" else hypotheses[i].strip())
    if spoken:
        aligned = process([references[i] for i in spoken], [hypotheses[i] for i in spoken])
        for i, reference, chunks in zip(spoken, aligned.references, aligned.alignments, strict=True):
            counts[i, LENGTH] = len(reference)
            for chunk in chunks:
                if chunk.type == "substitute":
                    counts[i, SUBSTITUTIONS] += chunk.ref_end_idx - chunk.ref_start_idx
                elif chunk.type == "delete":
                    counts[i, DELETIONS] += chunk.ref_end_idx - chunk.ref_start_idx
                elif chunk.type == "insert":
                    counts[i, INSERTIONS] += chunk.hyp_end_idx - chunk.hyp_start_idx
    return counts


def errors(counts: Counts) -> Counts:
    """Substitutions + deletions + insertions per utterance, ``[n]``."""
    summed: Counts = counts[:, :LENGTH].sum(axis=1)
    return summed


def rates(words: Counts, characters: Counts) -> Rates:
    """Pooled over the corpus: all errors over all reference units.

    Raises:
        ValueError: no reference has a single word, so that no rate is defined.
    """
    if not words[:, LENGTH].sum():
        raise ValueError("no reference word is left after normalisation")
    total = words.sum(axis=0)
    return Rates(
        wer=float(errors(words).sum() / total[LENGTH]),
        cer=float(errors(characters).sum() / characters[:, LENGTH].sum()),
        substitutions=int(total[SUBSTITUTIONS]),
        deletions=int(total[DELETIONS]),
        insertions=int(total[INSERTIONS]),
        words=int(total[LENGTH]),
    )
