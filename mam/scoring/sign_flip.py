"""The sign-flip test of a paired difference, and the interval of differences that it does not reject.

If merging changed nothing, either system could have made the errors of each unit, so every difference could have the
opposite sign. The test counts the sign assignments whose summed difference is at least as large as the observed one
(Fisher 1935; Pitman 1937). It is exact for any number of units, however few of them changed.

For a hypothetical difference δ the test is applied to ``d - δ·w``. Flipping the subset F of the units gives a sum at
least as large as the observed one exactly if δ lies between the ratio ``Σd/Σw`` of F and that of the other units. One
pass over the subsets therefore gives p for every δ (Hartigan 1969, "Using subsample values as typical values").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT = 16  # up to this many changed units, all sign assignments (at most 2^16) are counted
CHUNK = 8_000_000  # signs per block; limits memory to about 64 MB
LEVEL = 0.05

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Flips:
    """Sums of ``table`` over random or all subsets of its rows, for the test and its inversion.

    ``sums`` is ``[subsets, columns]``, ``totals`` ``[columns]``. Column 0 contains the differences and every other
    column a denominator: a rate is tested against column ``k`` as Σ column 0 / Σ column k. If ``is_exact``, the subsets
    are all subsets of the changed units, each equally often. Otherwise they are a sample, and p also counts the
    observed assignment.
    """

    sums: Floats
    totals: Floats
    is_exact: bool

    def ratios(self, column: int) -> tuple[Floats, Floats]:
        """Return the lower and upper ends of the δ for which each subset is at least as extreme as the observation."""
        inside, outside = self.sums, self.totals - self.sums
        with np.errstate(divide="ignore", invalid="ignore"):
            inside_ratios, outside_ratios = (part[:, 0] / part[:, column] for part in (inside, outside))
        low, high = np.fmin(inside_ratios, outside_ratios), np.fmax(inside_ratios, outside_ratios)
        is_always = np.isnan(inside_ratios) | np.isnan(outside_ratios)  # an empty side: the observed assignment itself
        low[is_always], high[is_always] = -np.inf, np.inf
        return low, high

    def p_value(self, column: int, delta: float) -> float:
        """Return the two-sided p of the hypothesis that the rate against ``column`` is ``delta``."""
        low, high = self.ratios(column)
        return self._share(int(np.count_nonzero((low <= delta) & (delta <= high))))

    def interval(self, column: int) -> tuple[float, float]:
        """Return the interval of δ with p >= 5 %.

        An end is infinite if no δ on that side reaches p < 5 %, as is the case below 6 units.
        """
        low, high = self.ratios(column)
        extra = 0 if self.is_exact else 1
        rank = math.ceil(LEVEL * (len(low) + extra) - 1e-9) - extra
        if rank < 1:
            return -math.inf, math.inf
        return float(np.partition(low, rank - 1)[rank - 1]), -float(np.partition(-high, rank - 1)[rank - 1])

    def _share(self, count: int) -> float:
        extra = 0 if self.is_exact else 1
        return (count + extra) / (len(self.sums) + extra)


def flips(table: NDArray[np.int64], draws: int, seed: int) -> Flips:
    """Sum the rows of ``table`` ``[units, columns]`` over subsets.

    With up to `EXACT` changed units (column 0 is not zero), all subsets of them are used. Each is used at least once,
    together with a random subset of the unchanged units, which matter only for δ other than 0. With more changed units,
    ``draws`` random subsets are used. The same input and seed give the same numbers.
    """
    values = table.astype(np.float64)  # sums of errors and words stay exact integers below 2^53
    is_changed = table[:, 0] != 0
    changed, unchanged = values[is_changed], values[~is_changed]
    rng = np.random.default_rng([seed, 2])
    totals = values.sum(axis=0)
    if len(values) <= EXACT:
        return Flips(_all_subsets(values), totals, True)
    if len(changed) > EXACT:
        return Flips(_random_subsets(values, draws, rng), totals, False)
    sums = _all_subsets(changed)
    sums = np.tile(sums, (max(1, -(-draws // len(sums))), 1))
    pool = _random_subsets(unchanged, draws, rng)
    return Flips(sums + pool[rng.integers(len(pool), size=len(sums))], totals, True)


def one_sided_p(differences: Floats, draws: int, seed: int) -> float:
    """Return the p of a sum of ``differences`` ``[units]`` at least as large as observed, under random signs.

    Differences may be means, so equal sums are compared with a tolerance.
    """
    changed = differences[differences != 0][:, None]
    if len(changed) == 0:
        return 1.0
    is_exact = len(changed) <= EXACT
    subsets = _all_subsets(changed) if is_exact else _random_subsets(changed, draws, np.random.default_rng([seed, 2]))
    # Flipping a subset subtracts twice its sum: the result is as large as observed if that sum is not positive.
    count = int(np.count_nonzero(subsets[:, 0] <= 1e-9 * float(np.abs(changed).sum())))
    return count / len(subsets) if is_exact else (count + 1) / (len(subsets) + 1)


def relabelled_p(new: NDArray[np.int64], old: NDArray[np.int64], draws: int, seed: int) -> float:
    """Return the two-sided p of a difference between two means of draws, exchanging draws between the sides.

    In every unit the rows of ``new`` ``[m, units]`` and ``old`` ``[k, units]`` are reassigned at random to the two
    sides, since under the hypothesis any of them could have made any of the errors.
    """
    both = np.concatenate([new, old]).astype(np.float64)
    both = both[:, (both != both[0]).any(axis=0)]  # reassignment changes nothing if all rows agree
    rows, units = both.shape
    observed = float(both[: len(new)].mean(axis=0).sum() - both[len(new) :].mean(axis=0).sum())
    rng = np.random.default_rng([seed, 3])
    count = 0
    step = max(1, CHUNK // max(1, rows * units))
    means = both.mean(axis=0).sum()
    for start in range(0, draws, step):
        keys = rng.random((min(step, draws - start), units, rows))
        dealt = np.argpartition(keys, len(new) - 1, axis=2)[:, :, : len(new)]  # [step, units, m]
        sums = both.T[np.arange(units)[None, :, None], dealt].mean(axis=2).sum(axis=1)
        # The mean of the other rows follows from the mean of all rows.
        differences = (sums - means) * rows / len(old)
        count += int(np.count_nonzero(np.abs(differences) >= abs(observed) - 1e-9 * max(1.0, abs(observed))))
    return (count + 1) / (draws + 1)


def _all_subsets(values: Floats) -> Floats:
    """Return the column sums over every subset of the rows of ``values``, ``[2^rows, columns]``, empty set first."""
    sums = np.zeros((1, values.shape[1]))
    for row in values:
        sums = np.concatenate([sums, sums + row])
    return sums


def _random_subsets(values: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Return the column sums over ``draws`` subsets that include each row of ``values`` with probability one half."""
    n, width = len(values), -(-len(values) // 8)
    is_small = float(np.abs(values).sum(axis=0).max(initial=0)) < 2**24  # limit of exact whole numbers in float32
    values = values.astype(np.float32 if is_small and np.array_equal(values, np.rint(values)) else np.float64)
    step = max(1, CHUNK // max(1, n))
    sums = np.empty((draws, values.shape[1]))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        octets = rng.integers(256, size=(count, width), dtype=np.uint8)
        sums[start : start + count] = np.unpackbits(octets, axis=1, count=n).astype(values.dtype) @ values
    return sums
