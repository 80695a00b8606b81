"""Several runs that end in one table, and the processes that they run in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le

from mam.errors import choices
from mam.scoring.bounds import OneOf

if TYPE_CHECKING:
    from mam.config.schema import Config

SHOWN = {
    "stability": "λ learnt over seeds",
    "mismatch": "the effect of depth, width and heads that differ, over pairs",
}
SECOND_STAGES = {"none": "one stage", "transfer": "λ learnt on each data set, frozen on the others"}
TABLES = {"none": "no table of the paper", "zero_shot": "merging without training", "trained": "fine-tuning"}


@dataclass
class LaunchConfig:
    """What launchers of several processes are told beside Hydra's own keys.

    Attributes:
        jobs_per_task: runs that follow each other in one process.
        patience_minutes: without a sign of life from the cluster, after which mam stops waiting.
    """

    jobs_per_task: Annotated[int, Ge(1), Le(10**6)] = 1
    patience_minutes: Annotated[float, Ge(0), Le(10**5)] = 15.0


@dataclass
class StudyConfig:
    """Several runs that end in one table: every combination of ``axes``, in every arm.

    Attributes:
        name: of the study, for its folder.
        title: of its table, where it fills one of the paper's.
        axes: a key of the configuration to its values. On the axis ``layers.spec`` ``each``, ``tops`` and ``bottoms``
            stand for each layer alone, top1 to all, bottom1 on.
        arms: named lists of words, each of which is combined with every point of the axes.
        pairs: [target, source] each, hub ids or folders, whose shapes are read from them.
        reference: the arm that every other trained arm is compared with.
        against: further comparisons: an arm, or a pattern such as ``carried*``, to the arms it is compared with.
        show: what else is worked out of the runs: ``stability``, ``mismatch``.
        then: a second stage that starts from the results of the first: ``transfer``.
        table: the kind of table of the paper that it fills.
        labels: what arms are called in that table.
        paper_arm: the arm beside which the paper's own figure stands.
        arm: set by mam, by which a run knows its own.
    """

    name: str = "none"
    title: str = ""
    axes: dict[str, list[Any]] = field(default_factory=dict)
    arms: dict[str, list[str]] = field(default_factory=dict)
    pairs: list[Any] = field(default_factory=list)
    reference: str | None = None
    against: dict[str, list[str]] = field(default_factory=dict)
    show: list[str] = field(default_factory=list)
    then: Annotated[str, OneOf(SECOND_STAGES)] = "none"
    table: Annotated[str, OneOf(TABLES)] = "none"
    labels: dict[str, str] = field(default_factory=dict)
    paper_arm: str | None = None
    arm: str = ""

    @property
    def is_plan(self) -> bool:
        """Whether there is more than one run to it."""
        return bool(self.axes or self.arms or self.pairs)


def study_problems(config: Config) -> Iterator[str]:
    """Yield arms that the study names and does not have, and what it cannot show."""
    study = config.study
    for name in study.show:
        if name not in SHOWN:
            yield f"study.show={name}: not known. Choose among: {choices(list(SHOWN))}"
    if not study.arms or study.then != "none":  # a second stage makes arms of its own
        return
    for key, named in (("reference", study.reference), ("paper_arm", study.paper_arm)):
        if named is not None and named not in study.arms:
            yield f"study.{key}={named}: there is no such arm. Choose one of: {choices(list(study.arms))}"
