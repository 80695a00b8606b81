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
    """One training: numbers of clips, steps, the step of the checkpoint that is kept, and its λ per layer.

    With several sources, ``lam`` is their sum, and ``lams_by_source`` has the λ per layer, source after source.
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
    """The error rate on dev before and after training. Dev was also used to choose the checkpoint."""

    metric: Metric
    before: Rate
    after: Rate
    absolute: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class TrainRecord:
    """A fine-tuning. ``settings`` is its configuration, ``ft`` the folder of the regular fine-tuning used as baseline.

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
    """The λ chosen on dev for a test fold (None: for all).

    ``lam`` is the mean of ``lams``, which has one λ per layer, one source after the other. For the mean, the λ of all
    sources at a layer are added.
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
    """A λ tried on dev, with its error rate; or, without labels, its entropy in nats or disagreement with neighbours.

    ``silenced`` is the fraction of decisions or transcripts that became empty.
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
    """One round of a race. Keys are λ as text.

    Attributes:
        examples: The number of examples seen.
        leader: The λ with the lowest error rate.
        rates: The error rate of each λ so far.
        dropped: The p-value of each λ that is significantly worse than the leader.
        settled: The λ that would hardly have become better than the leader on all of dev.
    """

    examples: Count
    leader: float
    rates: dict[str, float]
    dropped: dict[str, float]
    settled: list[str] | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class TuneRecord:
    """The choice of λ on dev. ``work`` is the number of evaluations as a fraction of those of a grid.

    ``path`` has the rounds of a race. ``transductive`` is true if the test recordings themselves were used, without
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
    """The error rate on dev, for choosing between runs. Without a dev split it is None, and ``note`` has the reason."""

    metric: Metric
    rate: Rate | None
    n: Count
    note: str | None
    data: Sha256 | None
