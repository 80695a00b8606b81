"""Is a difference real? The paired bootstrap: its interval, its p, and what could not have been seen."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEAST_SEEDS = 5  # fewer trainings say too little of how they scatter
CHUNK = 2_000_000  # resampled indices held at once: bounds memory at some 16 MB a column


@dataclass(frozen=True)
class Difference:
    """Merged minus baseline, in rate (a fraction); negative is better.

    ``relative`` is ``absolute`` over the baseline's rate, None where that is 0; an infinite end of its interval is
    None. ``detectable`` is the smallest difference that would be found with 80 % power at 5 %: (z.975 + z.80) times
    the standard error; None where no utterance differs, as then no error of estimation can be seen. ``ci95`` is None
    below two clusters.
    """

    absolute: float
    relative: float | None
    ci95: tuple[float, float] | None
    relative_ci95: tuple[float | None, float | None] | None
    p_value: float
    detectable: float | None
    test: str
    clusters: int


def paired_bootstrap(
    merged: NDArray[np.int64],
    baseline: NDArray[np.int64],
    lengths: NDArray[np.int64],
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap of the difference of two pooled error rates.

    Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004: utterances
    are drawn with replacement, each with its error counts under both systems and its number of words; the rates are
    pooled within a draw. Where ``clusters`` names groups (speakers, source files) whole groups are drawn. The interval
    is the 2.5 and 97.5 percentile; p is two-sided by the sign of the resampled difference,
    ``min(1, 2 * (1 + min(#{d <= 0}, #{d >= 0})) / (draws + 1))``.

    A side may be several draws of a random model: its rate is their mean, and in each resample as many draws are drawn
    with replacement, so that the variance between draws enters the interval.

    Args:
        merged: errors per utterance of the merged model, ``[n]``, or of each draw of it, ``[m, n]``.
        baseline: errors per utterance of the baseline on the same utterances, ``[n]`` or ``[m, n]``.
        lengths: reference words per utterance (1 each for a classification error), ``[n]``.
        clusters: one label an utterance, or None: every utterance for itself.
        draws: number of resamples.
        seed: of numpy's PCG64; the same input and seed give the same numbers.

    Raises:
        ValueError: the arrays differ in length or hold no reference word.
    """
    sides = [np.atleast_2d(side) for side in (merged, baseline)]
    n = len(lengths)
    if any(side.shape[1] != n for side in sides) or (clusters is not None and len(clusters) != n):
        raise ValueError("merged, baseline, lengths and clusters must be of one length")
    if lengths.sum() <= 0:
        raise ValueError("no reference words: a rate is not defined")
    table = np.concatenate([*sides, lengths[None]]).T  # [n, draws of both sides + 1]
    if clusters is not None:
        labels = {label: i for i, label in enumerate(dict.fromkeys(clusters))}
        grouped = np.zeros((len(labels), table.shape[1]), dtype=np.int64)
        np.add.at(grouped, [labels[label] for label in clusters], table)
        table = grouped
    columns = len(sides[0])
    sums = _resampled_sums(table, draws, seed)  # [draws, columns of the table]
    rng = np.random.default_rng([seed, 1])
    resampled = [_mean_of_draws(part, rng) for part in (sums[:, :columns], sums[:, columns:-1])]
    difference = (resampled[0] - resampled[1]) / np.maximum(sums[:, -1], 1)
    totals = table.sum(axis=0)
    new, old, words = float(totals[:columns].mean()), float(totals[columns:-1].mean()), int(totals[-1])
    unit = "utterances" if clusters is None else "clusters"
    enough = len(table) >= 2
    standard_error = float(difference.std(ddof=1))
    power = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.80)
    one_sided = min(int(np.count_nonzero(difference <= 0)), int(np.count_nonzero(difference >= 0)))
    return Difference(
        absolute=(new - old) / words,
        relative=(new - old) / old if old else None,
        ci95=_interval(difference) if enough else None,
        relative_ci95=_relative_interval(*resampled) if enough and old else None,
        p_value=min(1.0, 2 * (1 + one_sided) / (draws + 1)),
        detectable=power * standard_error if enough and standard_error > 0 else None,
        test=f"paired bootstrap over {unit}{_and_draws(sides)}, {draws} draws, seed {seed}",
        clusters=len(table),
    )


def exact_mcnemar(merged: NDArray[np.int64], baseline: NDArray[np.int64]) -> float:
    """Two-sided p of McNemar's exact test on paired mistakes (0 or 1, ``[n]``); 1 where no clip changed sides.

    McNemar 1947 in the binomial form: of the clips that only one side has wrong, half should be the merged model's.
    Clips count as independent, which those cut from one recording are not.
    """
    only_merged = int(np.count_nonzero(merged > baseline))
    only_baseline = int(np.count_nonzero(merged < baseline))
    n, fewer = only_merged + only_baseline, min(only_merged, only_baseline)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**n)))


def paired_t(differences: Sequence[float]) -> tuple[float, tuple[float, float] | None, float | None]:
    """Mean of paired differences, one a seed; its 95 % interval and two-sided p by Student's t with n - 1 degrees.

    None in place of interval and p below `LEAST_SEEDS`, and where all differences are equal.
    """
    from scipy.stats import t

    values = np.asarray(differences, dtype=np.float64)
    mean, n = float(values.mean()), len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if n < LEAST_SEEDS or not error:
        return mean, None, None
    half = float(t.ppf(0.975, n - 1)) * error
    return mean, (mean - half, mean + half), float(2 * t.sf(abs(mean) / error, n - 1))


def detectable_over_seeds(differences: Sequence[float]) -> float | None:
    """The smallest mean difference over so many seeds that would be found with 80 % power at 5 %.

    (t.975 + t.80) times the standard error, with Student's t of n - 1 degrees; None where all are equal.
    """
    from scipy.stats import t

    n = len(differences)
    error = float(np.std(differences, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return float(t.ppf(0.975, n - 1) + t.ppf(0.80, n - 1)) * error if error else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values in the order given (Holm 1979); valid under any dependence."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def _resampled_sums(table: NDArray[np.int64], draws: int, seed: int) -> NDArray[np.int64]:
    """Column sums of ``draws`` resamples of the rows of ``table`` ``[n, 3]`` -> ``[draws, 3]``."""
    rng, n = np.random.default_rng(seed), len(table)
    step = max(1, CHUNK // n)
    sums = np.empty((draws, table.shape[1]), dtype=np.int64)
    for start in range(0, draws, step):
        rows = rng.integers(n, size=(min(step, draws - start), n))
        for column in range(table.shape[1]):
            sums[start : start + len(rows), column] = table[:, column][rows].sum(axis=1)
    return sums


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _relative_interval(new: NDArray[np.float64], old: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Percentiles of merged/baseline - 1; a draw without baseline errors is +infinity, or 0 if neither has any."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(old > 0, new / old - 1, np.where(new > 0, np.inf, 0.0))
    low, high = np.quantile(change, [0.025, 0.975], method="inverted_cdf")
    return (float(low) if np.isfinite(low) else None), (float(high) if np.isfinite(high) else None)


def _mean_of_draws(sums: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Sums of each draw of a model ``[resamples, m]`` -> the mean of ``m`` of them drawn with replacement."""
    if sums.shape[1] == 1:
        return sums[:, 0].astype(np.float64)
    chosen = rng.integers(sums.shape[1], size=sums.shape)
    mean: NDArray[np.float64] = np.take_along_axis(sums, chosen, axis=1).mean(axis=1)
    return mean


def _and_draws(sides: Sequence[NDArray[np.int64]]) -> str:
    most = max(len(side) for side in sides)
    return f" and {most} draws of the control" if most > 1 else ""
