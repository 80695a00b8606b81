"""The percentile bootstrap of a paired difference, for comparison with published results that use it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHUNK = 2_000_000  # resampled indices per block; limits memory to about 16 MB per column

Ends = tuple[float | None, float | None]


def percentile_intervals(
    merged: NDArray[np.int64], baseline: NDArray[np.int64], lengths: NDArray[np.int64], draws: int, seed: int
) -> tuple[tuple[float, float], Ends]:
    """Return the 95 % intervals of the absolute and the relative difference of two pooled rates.

    Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004: units are
    drawn with replacement, each with its errors under both systems and its words. Rates are pooled within a resample,
    and the interval reaches from the 2.5th to the 97.5th percentile. If a side has several draws of a random model, its
    rate is their mean, and each resample draws as many of them with replacement. The interval is too narrow if few
    units changed or there are few units (see docs/statistics.md for its coverage).

    Args:
        merged: Errors per unit, ``[draws of the model, units]``.
        baseline: Errors per unit, likewise.
        lengths: Reference words per unit, ``[units]``.
        draws: Number of resamples.
        seed: Seed of numpy's PCG64.

    Returns:
        The interval of the absolute difference and that of the relative one, in which an infinite end is None.
    """
    table = np.concatenate([merged, baseline, lengths[None]]).T  # [units, draws of both sides + 1]
    sums = _resampled_sums(table, draws, seed)
    rng = np.random.default_rng([seed, 1])
    new, old = (_mean_of_draws(part, rng) for part in (sums[:, : len(merged)], sums[:, len(merged) : -1]))
    low, high = np.quantile((new - old) / np.maximum(sums[:, -1], 1), [0.025, 0.975])
    return (float(low), float(high)), _relative(new, old)


def _resampled_sums(table: NDArray[np.int64], draws: int, seed: int) -> NDArray[np.int64]:
    """Return the column sums of ``draws`` resamples of the rows of ``table``, ``[draws, columns]``."""
    rng, n = np.random.default_rng(seed), len(table)
    step = max(1, CHUNK // n)
    sums = np.empty((draws, table.shape[1]), dtype=np.int64)
    for start in range(0, draws, step):
        rows = rng.integers(n, size=(min(step, draws - start), n))
        for column in range(table.shape[1]):
            sums[start : start + len(rows), column] = table[:, column][rows].sum(axis=1)
    return sums


def _relative(new: NDArray[np.float64], old: NDArray[np.float64]) -> Ends:
    """Return the percentiles of new/old - 1.

    A resample without baseline errors counts as +infinity, or as 0 if neither side has errors.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(old > 0, new / old - 1, np.where(new > 0, np.inf, 0.0))
    low, high = np.quantile(change, [0.025, 0.975], method="inverted_cdf")
    return (float(low) if np.isfinite(low) else None), (float(high) if np.isfinite(high) else None)


def _mean_of_draws(sums: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Average a sample with replacement of the m draws, ``[resamples, m]`` -> ``[resamples]``."""
    if sums.shape[1] == 1:
        return sums[:, 0].astype(np.float64)
    chosen = rng.integers(sums.shape[1], size=sums.shape)
    mean: NDArray[np.float64] = np.take_along_axis(sums, chosen, axis=1).mean(axis=1)
    return mean
