"""The interface of a task; all other code is shared between tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mam.config.schema import Config
from mam.data.store import AudioStore
from mam.models.readout import Readout
from mam.records.parts import Delta, HeadRecord, Metric, SoundBaseline, SpeechBaseline
from mam.records.reading import PredictionRow
from mam.scoring.error_rate import ErrorRates
from mam.scoring.significance import Difference, paired_difference
from mam.scoring.wer import Rates


@dataclass(frozen=True)
class Judgement:
    """Predictions of both sides, one row per example in the same order.

    ``head`` describes how classes were predicted, and is None if nothing was fitted. ``notes`` are sentences for the
    diagnostics.
    """

    merged: list[PredictionRow]
    baseline: list[PredictionRow]
    head: HeadRecord | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ErrorCounts:
    """Errors and reference lengths of each example, ``[n]``, and the units that a test flips.

    ``clusters`` has the unit of each example, or is None if each example is its own unit; ``unit`` is the name of a
    unit.
    """

    errors: NDArray[np.int64]
    lengths: NDArray[np.int64]
    clusters: list[str] | None
    unit: str


@dataclass(frozen=True)
class Scores:
    """Rates of both sides, their difference, and sentences about anomalies in the predictions.

    ``after`` are the errors of each draw of the merged target, ``before`` those of the baseline, by example.
    """

    metrics: Rates | ErrorRates
    baseline: SpeechBaseline | SoundBaseline
    delta: Delta
    findings: list[str]
    after: list[ErrorCounts]
    before: ErrorCounts


def with_columns(config: Config, row: PredictionRow, example: Mapping[str, Any]) -> PredictionRow:
    """Return a prediction with further columns of its example: the unit of the test, and those of evaluate.by."""
    unit = config.data.clusters
    cluster = {} if unit == "utterance" else {"cluster": example[unit]}
    return row | cluster | {name: example[name] for name in config.evaluate.by if name not in row}


CLUSTER_NAMES = {"speaker": "speaker", "origin": "recording"}  # by ``data.clusters``


def units_of(config: Config, rows: Sequence[PredictionRow], single: str) -> tuple[list[str] | None, str]:
    """Return the clusters and the unit of `ErrorCounts`.

    ``single`` is the name of the unit if each example is its own unit.
    """
    if config.data.clusters == "utterance":
        return None, single
    return [row["cluster"] for row in rows], CLUSTER_NAMES[config.data.clusters]


def paired(config: Config, merged: Sequence[ErrorCounts], baseline: Sequence[ErrorCounts]) -> Difference:
    """Compare two sides by example; each has the errors of one model, or of every draw of a random one."""
    first, evaluate = baseline[0], config.evaluate
    return paired_difference(
        np.stack([draw.errors for draw in merged]),
        np.stack([draw.errors for draw in baseline]),
        first.lengths,
        first.clusters,
        evaluate.draws,
        config.seed,
        evaluate.interval,
        first.unit,
    )


class Task(Protocol):
    """A module of `mam.tasks`."""

    def metric(self, config: Config) -> Metric:
        """Return the metric to compare."""

    def readout(self, config: Config) -> Readout:
        """Return the readout of the target."""

    def check(self, config: Config, audio: AudioStore, labels: list[str] | None) -> None:
        """Raise DataError before the computation if the data are unsuitable; ``labels`` as in `judge`."""

    def judge(
        self,
        config: Config,
        audio: AudioStore,
        merged: Sequence[Any],
        baseline: Sequence[Any],
        labels: list[str] | None,
    ) -> Judgement:
        """Build predictions from the readouts of the merged and the unmerged target, one item per example.

        ``labels`` are the target's own classes, if its scores were read.
        """

    def lines(
        self, config: Config, audio: AudioStore, items: Sequence[Any], classes: Sequence[str]
    ) -> list[PredictionRow]:
        """Build predictions from texts, or from the scores of ``classes``, one item per clip of ``audio``."""

    def counted(self, config: Config, rows: Sequence[PredictionRow]) -> ErrorCounts:
        """Count the errors of each example, for a paired comparison; DataError if there is nothing to count."""

    def score(
        self, config: Config, merged: Sequence[Sequence[PredictionRow]], baseline: Sequence[PredictionRow]
    ) -> Scores:
        """Compute metrics and difference from predictions alone.

        ``merged`` has the predictions of each draw of a random control, or of the single merge; metrics pool the draws.
        """

    def tables(self, merged: Sequence[PredictionRow], baseline: Sequence[PredictionRow]) -> dict[str, list[list[Any]]]:
        """Return tables for the run folder: file name without extension -> rows, with the heading first."""
