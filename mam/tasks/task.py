"""What a task has to say for itself; everything else is the same for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mam.config.schema import Config
from mam.data.store import AudioStore
from mam.models.targets import Readout
from mam.scoring.significance import Difference, paired_difference

Row = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """Predictions of both sides, one row an example in the same order.

    ``head`` is what `result.json` records of how classes were told apart, None where nothing was fitted; ``notes`` are
    sentences for the diagnostics.
    """

    merged: list[Row]
    baseline: list[Row]
    head: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scores:
    """Metrics of both sides as `result.json` has them, their difference, sentences on what is odd in the predictions.

    ``beside`` are further entries of ``delta``.
    """

    metrics: dict[str, Any]
    baseline: dict[str, Any]
    difference: Difference
    findings: list[str]
    beside: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Counted:
    """Errors and reference lengths of each example ``[n]``, and the unit that a test flips.

    ``clusters`` has the unit of each example, None where each is one; ``unit`` is its name.
    """

    errors: NDArray[np.int64]
    lengths: NDArray[np.int64]
    clusters: list[str] | None
    unit: str


CLUSTER_NAMES = {"speaker": "speaker", "origin": "recording"}  # by ``data.clusters``


def units_of(config: Config, rows: Sequence[Row], single: str) -> tuple[list[str] | None, str]:
    """Return `Counted.clusters` and `Counted.unit` of rows; ``single`` names an example that is a unit of its own."""
    if config.data.clusters == "utterance":
        return None, single
    return [row["cluster"] for row in rows], CLUSTER_NAMES[config.data.clusters]


def paired(config: Config, merged: Sequence[Counted], baseline: Sequence[Counted]) -> Difference:
    """Compare two sides, each with the errors of one model or of every draw of a random one, example by example."""
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

    REQUIRED: tuple[str, ...]  # what every line of the predictions has, all text

    def metric(self, config: Config) -> str:
        """The metric that is compared."""

    def readout(self, config: Config) -> Readout:
        """What is read off the target."""

    def check(self, config: Config, audio: AudioStore, labels: list[str] | None) -> None:
        """Raise DataError now rather than after the work, where the data do not serve; ``labels`` as in `judge`."""

    def judge(
        self,
        config: Config,
        audio: AudioStore,
        merged: Sequence[Any],
        baseline: Sequence[Any],
        labels: list[str] | None,
    ) -> Judged:
        """Predictions from what was read off the merged and the unmerged target, one item an example of the corpus.

        ``labels`` are the target's own classes, where its scores were read.
        """

    def lines(self, config: Config, audio: AudioStore, items: Sequence[Any], classes: Sequence[str]) -> list[Row]:
        """Predictions from texts, or from the scores of ``classes``, one item a clip of ``audio``."""

    def counted(self, config: Config, rows: Sequence[Row]) -> Counted:
        """Errors of each example, for a paired comparison. Raises DataError where there is nothing to count."""

    def score(self, config: Config, merged: Sequence[Sequence[Row]], baseline: Sequence[Row]) -> Scores:
        """Metrics and difference from predictions alone.

        ``merged`` are the predictions of each draw of a random control, else of the one merge; metrics pool the draws.
        """

    def tables(self, merged: Sequence[Row], baseline: Sequence[Row]) -> dict[str, list[list[Any]]]:
        """Tables for the run folder: file name without ending -> rows, the first of them the heading."""
