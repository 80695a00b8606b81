"""Paired differences over the seeds of a training, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEAST_SEEDS = 5  # fewer trainings say too little of how they scatter


def paired_t(differences: Sequence[float]) -> tuple[float, tuple[float, float] | None, float | None]:
    """Mean of paired differences, one a seed; its 95 % interval and two-sided p by Student's t with n - 1 degrees.

    The interval is over seeds on the clips that were tested: other clips are not in it. None in place of interval and p
    below `LEAST_SEEDS`, and where all differences are equal.
    """
    from scipy.special import stdtr, stdtrit

    values = np.asarray(differences, dtype=np.float64)
    mean, n = float(values.mean()), len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if n < LEAST_SEEDS or error <= 1e-9 * float(np.abs(values).max()):
        return mean, None, None
    half = float(stdtrit(n - 1, 0.975)) * error
    return mean, (mean - half, mean + half), float(2 * stdtr(n - 1, -abs(mean) / error))
