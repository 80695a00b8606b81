"""The measurements of a run, with or without training, before they are scored and recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mam.evaluation.attention_statistics import AttentionChange
from mam.merging.merger import MergeReport
from mam.merging.plan import MergePlan
from mam.records.learning import TrainRecord
from mam.records.parts import HeadRecord
from mam.records.reading import PredictionRow


@dataclass(frozen=True)
class Measurement:
    """Predictions of each side and facts about them.

    Attributes:
        plan: the merge; of several, the one with the largest λ.
        report: the tensors it changed.
        sides: predictions of each draw of a random control, else of the one merge.
        baseline: predictions of the baseline, see ``kind``.
        attention: the change of attention by the merge.
        lams_by_source: λ of every layer at the end, of several sources for each in turn.
        notes: sentences for the diagnostics.
        head: how classes were told apart; None for speech.
        evaluating: in seconds, like ``merging`` and ``prefix``.
        kind: the baseline: the unmerged target, or regular fine-tuning (``ft``).
        train: the record of a training.
    """

    plan: MergePlan
    report: MergeReport
    sides: list[list[PredictionRow]]
    baseline: list[PredictionRow]
    attention: AttentionChange
    lams_by_source: tuple[float, ...]
    notes: list[str]
    head: HeadRecord | None
    evaluating: float
    merging: float = 0.0
    prefix: float = 0.0
    kind: Literal["unmerged", "ft"] = "unmerged"
    train: TrainRecord | None = None

    @property
    def ended(self) -> MergePlan:
        """The merge with the λ at the end."""
        return self.plan.at(self.lams_by_source)
