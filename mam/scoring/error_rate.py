"""Classification error: pooled, by fold and by class, and the confusion matrix."""

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
    """The pooled error (a fraction), and the errors of the folds with their mean and sample standard deviation.

    Folds are in order. ``fold_sd`` is None with fewer than two folds.
    """

    error: Share
    errors: Count
    clips: Positive
    fold_errors: Annotated[tuple[Share, ...], Len(1)]
    fold_mean: Share
    fold_sd: Rate | None


def mistakes(labels: Sequence[str], predictions: Sequence[str]) -> NDArray[np.int64]:
    """Return 1 where a prediction is wrong and 0 elsewhere, ``[n]``.

    Raises:
        ValueError: There are no labels, or the lengths differ.
    """
    if not labels or len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions")
    wrong = [label != prediction for label, prediction in zip(labels, predictions, strict=True)]
    return np.array(wrong, dtype=np.int64)


def error_rates(wrong: NDArray[np.int64], folds: Sequence[Hashable]) -> ErrorRates:
    """Compute the rates of ``wrong`` ``[n]`` (0 or 1), overall and by fold.

    Folds are in the order of their first clips.
    """
    by_fold: dict[Hashable, list[int]] = {}
    for fold, mistake in zip(folds, wrong, strict=True):
        by_fold.setdefault(fold, []).append(int(mistake))
    means = tuple(fmean(members) for members in by_fold.values())
    sd = stdev(means) if len(means) > 1 else None
    return ErrorRates(float(wrong.mean()), int(wrong.sum()), len(wrong), means, fmean(means), sd)


def confusion(labels: Sequence[str], predictions: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return all classes that occur, sorted, and counts ``[class, predicted class]``."""
    from sklearn.metrics import confusion_matrix  # imported here: takes a second, unused for speech

    classes = sorted({*labels, *predictions})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A single label was found")  # the labels are given
        return classes, confusion_matrix(labels, predictions, labels=classes).astype(np.int64)
