"""A paired difference: 10,000 draws over 13,100 utterances, and jiwer called for every draw.

python scripts/bench/significance.py   # jiwer is timed on 3 draws and scaled
"""

from __future__ import annotations

import jiwer
import numpy as np
from common import median_of, timed

from mam.scoring.significance import paired_difference
from mam.scoring.wer import LENGTH, error_counts, errors

UTTERANCES, DRAWS, TIMED = 13_100, 10_000, 3


def transcripts() -> tuple[list[str], list[str], list[str]]:
    """References of 17 words, as LJ Speech has them, and two hypotheses with a tenth of the words wrong."""
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"word{i}" for i in range(2000)])
    truth = rng.integers(0, len(vocabulary), (UTTERANCES, 17))
    sides = [
        np.where(rng.random(truth.shape) < 0.1, rng.integers(0, len(vocabulary), truth.shape), truth) for _ in "ab"
    ]
    return tuple([" ".join(vocabulary[row]) for row in side] for side in (truth, *sides))


def main() -> None:
    """Measure and print."""
    truth, new, old = transcripts()
    counts = [error_counts(truth, side, "word") for side in (new, old)]
    lengths = counts[0][:, LENGTH]
    mine = median_of(lambda: paired_difference(errors(counts[0]), errors(counts[1]), lengths, None, DRAWS, 0))
    rng = np.random.default_rng(0)

    def one_draw() -> float:
        chosen = rng.integers(0, UTTERANCES, UTTERANCES)
        picked = [[side[i] for i in chosen] for side in (truth, new, old)]
        return jiwer.wer(picked[0], picked[1]) - jiwer.wer(picked[0], picked[2])

    loop = timed(lambda: [one_draw() for _ in range(TIMED)]) / TIMED * DRAWS
    print(
        f"paired difference, {DRAWS:,} draws, {UTTERANCES:,} utterances: mam {mine:.2f} s;"
        f" jiwer for every draw {loop:,.0f} s"
    )
    print(f"  jiwer/mam {loop / mine:,.0f} (aim 1,000); jiwer timed on {TIMED} draws")


if __name__ == "__main__":
    main()
