"""The parts of `result.json` on how λ was learnt or chosen, as types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len

from mam.data.listing import SkippedExample
from mam.records.parts import ABSENT, Metric, Sha256
from mam.scoring.bounds import Count, Rate, Share


@dataclass(frozen=True)
class FoldTraining:
    """One training: numbers of clips, steps, the step of the kept checkpoint, and its λ by layer.

    With several sources ``lam`` is their sum, and ``lams_by_source`` has the λ by layer for each in turn.
    """

    fold: str | None
    train: Count
    dev: Count
    steps: Count
    best_step: Count
    dev_loss: float | None
    lam: list[float]
    skipped: list[SkippedExample]
    lams_by_source: list[float] | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class DevChange:
    """The rate on dev before and after a training. Dev also chose the checkpoint."""

    metric: Metric
    before: Rate
    after: Rate
    absolute: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class TrainRecord:
    """A fine-tuning. ``settings`` is its configuration, ``ft`` the folder of the regular fine-tuning compared with.

    ``ft_key`` is equal for all trainings that share a regular fine-tuning; ``lam_at_start`` has one λ per layer.
    """

    name: Literal["finetune", "lmam"]
    settings: dict[str, Any]
    ft_key: str
    folds: Annotated[list[FoldTraining], Len(1)]
    dev: DevChange
    seconds: float
    processes: Annotated[int, Ge(1)]
    lam_at_start: list[float]
    ft: str | None

    @property
    def is_lmam(self) -> bool:
        """True if λ was a parameter of the training."""
        return self.name == "lmam"


@dataclass(frozen=True)
class ChosenLam:
    """A λ chosen on dev for a test fold (None: for all).

    ``lam`` is the mean of ``lams``, which has one per layer, of several sources for each in turn; their λ at a layer
    count together for the mean.
    """

    fold: str | None
    lam: float
    lams: list[float] | None = field(default=None, metadata=ABSENT)

    @property
    def value(self) -> float | list[float]:
        """One λ for all layers, or one for each."""
        return self.lam if self.lams is None else self.lams


@dataclass(frozen=True)
class TriedLam:
    """A λ tried on dev, with its rate. Without labels: its entropy in nats or its disagreement with its neighbours.

    ``silenced`` is the share of decisions or transcripts that became silence.
    """

    fold: str | None
    lam: float
    rate: Rate | None
    lams: list[float] | None = field(default=None, metadata=ABSENT)
    entropy: Annotated[float, Ge(0)] | None = field(default=None, metadata=ABSENT)
    silenced: Share | None = field(default=None, metadata=ABSENT)
    disagreement: Share | None = field(default=None, metadata=ABSENT)

    @property
    def value(self) -> float | list[float]:
        """One λ for all layers, or one for each."""
        return self.lam if self.lams is None else self.lams


@dataclass(frozen=True)
class RaceLook:
    """One look at a race. Keys are λ as text.

    Attributes:
        examples: The number of examples seen.
        leader: The λ with the lowest rate.
        rates: The rate of each λ so far.
        dropped: The p-value of each λ that was shown to be worse than the leader.
        settled: The λ that all of dev would hardly have shown to be better than the leader.
    """

    examples: Count
    leader: float
    rates: dict[str, float]
    dropped: dict[str, float]
    settled: list[str] | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class TuneRecord:
    """The choice of λ on dev. ``work`` is the share of a grid's evaluations that was done.

    ``path`` has the looks of a race. ``transductive`` is true if the test recordings themselves were used, without
    their labels.
    """

    name: str
    chosen: Annotated[list[ChosenLam], Len(1)]
    tried: list[TriedLam]
    work: Share
    path: list[RaceLook]
    transductive: bool | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class DevRecord:
    """The rate on dev, for choosing between runs. Without a dev split it is None, with the reason in ``note``."""

    metric: Metric
    rate: Rate | None
    n: Count
    note: str | None
    data: Sha256 | None
