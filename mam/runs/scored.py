"""Scoring the predictions of a run, when it is made and again later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mam.config.schema import Config
from mam.evaluation.diagnostics import diagnose
from mam.records.parts import Delta, GroupsRecord, SoundBaseline, SpeechBaseline
from mam.records.reading import PredictionRow
from mam.scoring.error_rate import ErrorRates
from mam.scoring.wer import Rates
from mam.tasks import TASKS
from mam.tasks.groups import by_groups


@dataclass(frozen=True)
class Scoring:
    """Everything that follows from predictions alone: rates of both sides, their difference, diagnostics, groups."""

    metrics: Rates | ErrorRates
    baseline: SpeechBaseline | SoundBaseline
    delta: Delta
    diagnostics: list[str]
    groups: list[GroupsRecord] | None = None


def score(
    merged: Sequence[Sequence[PredictionRow]],
    baseline: Sequence[PredictionRow],
    config: Config,
    remarks: Sequence[str] = (),
    kind: Literal["unmerged", "ft"] = "unmerged",
) -> Scoring:
    """Score the predictions of each draw of a random control, or of the one merge, against the baseline.

    Args:
        merged: predictions of each draw.
        baseline: predictions of the baseline on the same examples.
        config: how they are normalised and compared.
        remarks: diagnostics that do not follow from the predictions.
        kind: the baseline: the ``unmerged`` target, or regular fine-tuning (``ft``).

    Raises:
        DataError: no reference has a word left after normalisation.
    """
    scores = TASKS[config.model.task].score(config, merged, baseline)
    diagnostics = diagnose(scores.delta, [*scores.findings, *remarks], _caveat(config))
    groups = by_groups(config, merged[0], scores.after, scores.before) if config.evaluate.by else None
    return Scoring(scores.metrics, replace(scores.baseline, kind=kind), scores.delta, diagnostics, groups)


def _caveat(config: Config) -> str:
    """Return the data set's note if it applies to this target."""
    origin = config.data.recorded_from
    return config.data.note if not origin or origin in config.model.pretrained_on else ""
