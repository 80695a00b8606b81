"""Paired comparison of two pooled error rates: the difference, its test and its interval.

The test flips signs of units (`mam.scoring.sign_flip`). The interval agrees with it: it excludes 0 exactly if p < .05.
docs/statistics.md explains the choice of both, with their simulated coverage.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mam.scoring.bootstrap import percentile_intervals
from mam.scoring.bounds import Count, Positive, Share
from mam.scoring.intervals import INTERVALS
from mam.scoring.sign_flip import LEVEL, Flips, flips, relabelled_p

LEAST = 6  # fewer changed units cannot reach p < .05: with 5, the smallest p is 2/2^5 = .0625
PSEUDO = 2.0  # number of added units that changed, one in each direction

ABSOLUTE, RELATIVE = 1, 2  # denominator columns of the table

Ends = tuple[float | None, float | None]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """Merged minus baseline, in rate (a fraction); negative is better.

    Attributes:
        absolute: Difference of the pooled rates.
        relative: ``absolute`` over the baseline's rate, None if that is 0.
        ci95: 95 % interval of ``absolute``; None if no unit changed, or all changed alike.
        relative_ci95: 95 % interval of ``relative``; an infinite end is None.
        p_value: Two-sided p of the sign-flip test.
        test: Name of the test and of the interval, with the number of units, draws and the seed.
        unit: Name of a unit, such as ``utterance`` or ``speaker``.
        clusters: Number of units.
        changed: Units whose number of errors differs. None in results of older versions, as are the next two.
        better: Changed units with fewer errors in the merged model.
        worse: Changed units with more errors in the merged model.
        interval: ``sign_flip``, or ``bootstrap``, which need not agree with ``p_value``.
        largest: Largest share of one unit in the sum of all changes. The test assumes gains and losses of similar size.
    """

    absolute: float
    relative: float | None
    ci95: tuple[float, float] | None
    relative_ci95: Ends | None
    p_value: Share
    test: str
    clusters: Positive
    unit: str = "utterance"
    changed: Count | None = None
    better: Count | None = None
    worse: Count | None = None
    interval: str = "sign_flip"
    largest: Share | None = None

    @property
    def can_be_significant(self) -> bool:
        """True if some sign assignment has p < .05."""
        return self.changed is None or self.changed >= LEAST

    @property
    def is_significant(self) -> bool:
        """True if p < .05, without a correction for multiple comparisons."""
        return self.p_value < LEVEL


def paired_difference(
    merged: Counts,
    baseline: Counts,
    lengths: Counts,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    interval: str = "sign_flip",
    unit: str = "utterance",
) -> Difference:
    """Compare two pooled error rates, paired by unit.

    p is that of the sign-flip test, exact up to 16 changed units, else from ``draws`` random assignments. The interval
    combines the inverted test with Student's t on the linearised rate. For the latter, two units are added that changed
    in opposite directions (Bonett & Price 2012), weighted by the share of units that did not change. Only the test
    decides whether 0 is inside. Below 6 units the interval is that of t alone, extended to 0.

    A side may be several draws of a random model: its rate is their mean. The test then flips the mean, and distances
    from the estimate are stretched by the variance between draws, on draws - 1 degrees of freedom (Satterthwaite 1946).
    One model minus a mean of several is not symmetric if few utterances change. p is therefore at least that of a
    second test, which exchanges the draws of both sides in every unit.

    Args:
        merged: Errors per utterance of the merged model, ``[n]``, or of each of its draws, ``[m, n]``.
        baseline: Errors per utterance of the baseline on the same utterances, ``[n]`` or ``[m, n]``.
        lengths: Reference words per utterance (1 each for a classification error), ``[n]``.
        clusters: One label per utterance, or None if every utterance is a unit.
        draws: Number of random sign assignments, or of resamples of the bootstrap.
        seed: Seed of numpy's PCG64; the same input and seed give the same numbers.
        interval: ``sign_flip`` (as above) or ``bootstrap`` (percentile, which need not agree with p).
        unit: Name of a unit, for display.

    Raises:
        ValueError: The arrays differ in length or contain no reference word, or the interval has another name.
    """
    new, old, words = _by_unit(merged, baseline, lengths, clusters)
    if interval not in INTERVALS:
        raise ValueError(f"interval={interval}: must be one of {', '.join(INTERVALS)}")
    # Integer errors over all pairs of draws, so that equal sums compare as equal.
    scale = len(new) * len(old)
    differences = len(old) * new.sum(axis=0) - len(new) * old.sum(axis=0)
    table = np.stack([differences, scale * words, len(new) * old.sum(axis=0)], axis=1)
    total, all_words, all_old = (int(value) for value in table.sum(axis=0))
    flipped = flips(table, draws, seed)
    spread = _Spread(table.astype(np.float64), [(new, scale), (old, scale)])
    stretch = spread.stretch(ABSOLUTE)
    p_value = flipped.p_value(ABSOLUTE, _hypothesis(total / all_words, stretch))
    if scale > 1:
        p_value = max(p_value, relabelled_p(new, old, draws, seed))
    sizes = np.abs(differences)
    difference = Difference(
        absolute=total / all_words,
        relative=total / all_old if all_old > 0 else None,
        ci95=_agreeing(flipped, spread, ABSOLUTE, stretch, p_value),
        relative_ci95=_open(_agreeing(flipped, spread, RELATIVE, stretch, p_value)) if all_old > 0 else None,
        p_value=p_value,
        test=_name(flipped, unit, len(words), draws, seed, max(len(new), len(old)), interval),
        clusters=len(words),
        unit=unit,
        changed=int(np.count_nonzero(differences)),
        better=int(np.count_nonzero(differences < 0)),
        worse=int(np.count_nonzero(differences > 0)),
        largest=float(sizes.max() / sizes.sum()) if sizes.any() else None,
    )
    if interval == "bootstrap" and difference.changed and difference.clusters > 1:
        ci95, relative_ci95 = percentile_intervals(new, old, words, draws, seed)
        return replace(difference, ci95=ci95, relative_ci95=relative_ci95 if all_old > 0 else None, interval=interval)
    return difference


def exact_mcnemar(merged: Counts, baseline: Counts) -> float:
    """Return the two-sided p of McNemar's exact test on paired mistakes (0 or 1, ``[n]``); 1 if no clip differs.

    McNemar 1947 in binomial form: of the clips that only one side has wrong, half should be the merged model's. The
    test treats clips as independent, which clips cut from one recording are not. For independent clips it equals the
    sign-flip test.
    """
    only_merged = int(np.count_nonzero(merged > baseline))
    only_baseline = int(np.count_nonzero(merged < baseline))
    if not only_merged + only_baseline:
        return 1.0
    from scipy.stats import binomtest  # imported here: takes a second and few runs need it

    return float(binomtest(min(only_merged, only_baseline), only_merged + only_baseline).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p values in the given order (Holm 1979); valid under any dependence."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def _by_unit(
    merged: Counts, baseline: Counts, lengths: Counts, clusters: Sequence[Hashable] | None
) -> tuple[Counts, Counts, Counts]:
    """Return the errors ``[draws, units]`` of both sides and the words ``[units]``, summed within units."""
    new, old = np.atleast_2d(merged), np.atleast_2d(baseline)
    n = len(lengths)
    if any(side.shape[1] != n for side in (new, old)) or (clusters is not None and len(clusters) != n):
        raise ValueError("merged, baseline, lengths and clusters must have the same length")
    if lengths.sum() <= 0:
        raise ValueError("there are no reference words, so there is no error rate")
    if clusters is None:
        return new, old, lengths
    position = {label: i for i, label in enumerate(dict.fromkeys(clusters))}
    members = np.array([position[label] for label in clusters])

    def summed(values: Counts) -> Counts:
        sums = np.zeros((*values.shape[:-1], len(position)), dtype=np.int64)
        np.add.at(sums.T, members, values.T)
        return sums

    return summed(new), summed(old), summed(lengths)


class _Spread:
    """Standard errors of a pooled difference, by linearisation over units and over the draws of either side.

    ``table`` is ``[units, columns]`` as in `flips`; ``sides`` are errors ``[draws, units]``, each with the factor by
    which the table scales it.
    """

    def __init__(self, table: Floats, sides: Sequence[tuple[Counts, int]]) -> None:
        self._table = table
        self._sides = [(side * factor, len(side)) for side, factor in sides if len(side) > 1]
        self.units = len(table)

    def over_units(self, column: int) -> float:
        """Return the standard error between units, including the added units that changed."""
        differences, denominators = self._table[:, 0], self._table[:, column]
        changed = differences[differences != 0]
        if self.units < 2 or not len(changed):
            return 0.0
        total = float(denominators.sum())
        residuals = differences - float(differences.sum()) / total * denominators
        share = max(1 - len(changed) / self.units, 1 / self.units)  # at least 1/n if all changed
        unseen = PSEUDO * share * float(np.mean(changed**2))
        return math.sqrt((float(np.sum(residuals**2)) + unseen) * self.units / (self.units - 1)) / total

    def half_width(self, column: int) -> float:
        """Return half of the 95 % interval by Student's t, over units alone."""
        return _t975(self.units - 1) * self.over_units(column) if self.units > 1 else 0.0

    def stretch(self, column: int) -> float:
        """Return the factor by which the variance between draws widens the interval; 1 without draws."""
        over_units = self.over_units(column)
        parts = [(over_units**2, self.units - 1)]
        parts += [(_between_draws(side, self._table[:, column]), draws - 1) for side, draws in self._sides]
        variance = sum(part for part, _ in parts)
        if not over_units or variance == over_units**2:
            return 1.0
        freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
        return max(1.0, _t975(freedom) * math.sqrt(variance) / self.half_width(column))


def _between_draws(side: Counts, denominators: Floats) -> float:
    """Return the variance of the mean rate of ``side`` ``[draws, units]`` that is due to draws and not to units."""
    draws, units = side.shape
    total = float(denominators.sum())
    rates = side.sum(axis=1) / total
    residuals = side - rates[:, None] * denominators
    residuals -= residuals.mean(axis=0)
    within = float(np.sum(residuals**2)) / (draws - 1) * units / max(1, units - 1) / total**2
    between = float(rates.var(ddof=1)) - within
    return float(max(0.0, between) / draws)


def _agreeing(
    flipped: Flips, spread: _Spread, column: int, stretch: float, p_value: float
) -> tuple[float, float] | None:
    """Return the interval that `paired_difference` describes; None if nothing changed, or there is only one unit.

    An end of the relative interval is infinite if some sign assignments leave no error to divide by.
    """
    estimate = float(flipped.totals[0] / flipped.totals[column])
    half = spread.half_width(column)
    if not half:
        return None
    by_t = estimate - half, estimate + half
    by_test = flipped.interval(column)
    is_open = column == RELATIVE and spread.units >= LEAST
    low = by_test[0] if is_open or math.isfinite(by_test[0]) else min(by_t[0], 0.0)
    high = by_test[1] if is_open or math.isfinite(by_test[1]) else max(by_t[1], 0.0)
    low, high, low_t, high_t = (estimate + stretch * (bound - estimate) for bound in (low, high, *by_t))
    # The test decides whether 0 is inside, so an end that excludes 0 is the test's own.
    low, high = (low if low > 0 else min(low, low_t)), (high if high < 0 else max(high, high_t))
    return (low, high) if p_value < LEVEL else (min(low, 0.0), max(high, 0.0))


def _hypothesis(estimate: float, stretch: float) -> float:
    """Return the δ whose p is that of 0 after distances from the estimate are stretched."""
    return estimate - estimate / stretch if stretch != 1 else 0.0


def _t975(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def _open(ends: tuple[float, float] | None) -> Ends | None:
    """Replace infinite ends by None."""
    if ends is None:
        return None
    return (ends[0] if math.isfinite(ends[0]) else None), (ends[1] if math.isfinite(ends[1]) else None)


def _name(flipped: Flips, unit: str, units: int, draws: int, seed: int, sides: int, interval: str) -> str:
    computation = "p exact" if flipped.is_exact and sides == 1 else f"{draws} draws, seed {seed}"
    draws_text = f" and {sides} draws of a side" if sides > 1 else ""
    suffix = "" if interval == "sign_flip" else f"; interval: percentile bootstrap, {draws} draws, seed {seed}"
    return f"sign-flip test over {units} {unit}{'' if units == 1 else 's'}{draws_text}, {computation}{suffix}"
