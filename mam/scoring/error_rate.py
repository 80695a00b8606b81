"""Classification error: pooled, by fold, by class; and who is taken for whom."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Annotated

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray

from mam.scoring.bounds import Count, Positive, Rate, Share


@dataclass(frozen=True)
class ErrorRates:
    """Pooled error (a fraction); errors of the folds in their order, their mean and sample standard deviation.

    ``fold_sd`` is None below two folds.
    """

    error: Share
    errors: Count
    clips: Positive
    fold_errors: Annotated[tuple[Share, ...], Len(1)]
    fold_mean: Share
    fold_sd: Rate | None


def mistakes(labels: Sequence[str], predictions: Sequence[str]) -> NDArray[np.int64]:
    """1 where a prediction is wrong, ``[n]``. Raises ValueError where there is none or the lengths differ."""
    if not labels or len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions")
    return np.array([label != guess for label, guess in zip(labels, predictions, strict=True)], dtype=np.int64)


def error_rates(wrong: NDArray[np.int64], folds: Sequence[Hashable]) -> ErrorRates:
    """Rates of ``wrong`` ``[n]`` (0 or 1), by the fold of each clip in the order of their first clips."""
    by_fold: dict[Hashable, list[int]] = {}
    for fold, one in zip(folds, wrong, strict=True):
        by_fold.setdefault(fold, []).append(int(one))
    means = tuple(fmean(members) for members in by_fold.values())
    sd = stdev(means) if len(means) > 1 else None
    return ErrorRates(float(wrong.mean()), int(wrong.sum()), len(wrong), means, fmean(means), sd)


def confusion(labels: Sequence[str], predictions: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """All classes that occur, sorted, and counts ``[class, predicted class]``."""
    from sklearn.metrics import confusion_matrix  # here: it takes a second to import, which transcripts do not need

    classes = sorted({*labels, *predictions})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A single label was found")  # it asks for the labels that are given here
        return classes, confusion_matrix(labels, predictions, labels=classes).astype(np.int64)
