"""What a run has measured, merged with or without training, before it is scored and recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mam.evaluation.attention_statistics import AttentionChange
from mam.merge.merger import MergeReport
from mam.merge.plan import MergePlan
from mam.records.reading import PredictionRow
from mam.records.result import HeadRecord, TrainRecord


@dataclass(frozen=True)
class Measurement:
    """Predictions of each side and what is said of them.

    ``sides`` has one list a draw of a random control, else one; ``baseline`` is the unmerged target or, by ``kind``,
    regular fine-tuning (``ft``); ``plan`` is the merge, of several λ the largest, ``report`` what it wrote; ``lams`` has λ of every layer at the end; ``merging``, ``evaluating`` and ``prefix``
    are seconds.
    """

    plan: MergePlan
    report: MergeReport
    sides: list[list[PredictionRow]]
    baseline: list[PredictionRow]
    attention: AttentionChange
    lams: tuple[float, ...]
    notes: list[str]
    head: HeadRecord | None
    evaluating: float
    merging: float = 0.0
    prefix: float = 0.0
    kind: Literal["unmerged", "ft"] = "unmerged"
    train: TrainRecord | None = None
