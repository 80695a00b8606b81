"""What a run has measured, merged with or without training, before it is scored and recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mam.evaluation.attention_statistics import AttentionChange
from mam.merge.merger import MergeReport
from mam.merge.plan import MergePlan
from mam.records.learning import TrainRecord
from mam.records.parts import HeadRecord
from mam.records.reading import PredictionRow


@dataclass(frozen=True)
class Measurement:
    """Predictions of each side and what is said of them.

    Attributes:
        plan: the merge; of several λ the largest.
        report: what it wrote.
        sides: predictions of each draw of a random control, else of the one merge.
        baseline: predictions of the unmerged target or, by ``kind``, of regular fine-tuning (``ft``).
        attention: what the merge did to attention.
        lams: λ of every layer at the end.
        notes: sentences for the diagnostics.
        head: how classes were told apart; of audio events.
        evaluating: seconds; ``merging`` and ``prefix`` too.
        kind: what the baseline is.
        train: of a training.
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
