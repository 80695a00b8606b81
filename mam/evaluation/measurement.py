"""What a run has measured, merged with or without training, before it is scored and recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mam.evaluation.attention_statistics import Change
from mam.tasks.task import Row


@dataclass(frozen=True)
class Measured:
    """Predictions of each side and what is said of them.

    ``sides`` has one list a draw of a random control, else one; ``baseline`` is the unmerged target or, by ``kind``,
    regular fine-tuning (``ft``); ``lams`` has λ of every layer at the end; ``merging``, ``evaluating`` and ``prefix``
    are seconds.
    """

    sides: list[list[Row]]
    baseline: list[Row]
    attention: Change
    lams: tuple[float, ...]
    notes: list[str]
    head: dict[str, Any] | None
    evaluating: float
    merging: float = 0.0
    prefix: float = 0.0
    kind: str = "unmerged"
    train: dict[str, Any] | None = None
