"""Paired differences over the seeds of a training, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEAST_SEEDS = 5  # with fewer, the variance between seeds is too uncertain


def paired_t(differences: Sequence[float]) -> tuple[float, tuple[float, float] | None, float | None]:
    """Return the mean of paired differences, one per seed, with its 95 % interval and two-sided p.

    Both use Student's t with n - 1 degrees of freedom. The interval covers the variation between seeds on the tested
    clips, not that between clips. Interval and p are None with fewer than `LEAST_SEEDS` seeds, and if all differences
    are equal.
    """
    from scipy.special import stdtr, stdtrit

    values = np.asarray(differences, dtype=np.float64)
    mean, n = float(values.mean()), len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if n < LEAST_SEEDS or error <= 1e-9 * float(np.abs(values).max()):
        return mean, None, None
    half = float(stdtrit(n - 1, 0.975)) * error
    return mean, (mean - half, mean + half), float(2 * stdtr(n - 1, -abs(mean) / error))
