"""Made-up error counts, and what comes of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from mam.scoring.significance import Difference, paired_difference


def few(
    n: int, better: int, worse: int = 0, clusters: Sequence[Hashable] | None = None, unit: str = "utterance"
) -> Difference:
    """``n`` utterances of ten words with two errors each, of which some lose or gain one."""
    baseline = np.full(n, 2)
    merged = baseline.copy()
    merged[:better] -= 1
    merged[better : better + worse] += 1
    return paired_difference(merged, baseline, np.full(n, 10), clusters, unit=unit)
