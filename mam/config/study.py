"""Several runs that end in one table, and the processes that run them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le
from typing_extensions import Doc

from mam.errors import choices
from mam.scoring.bounds import OneOf

if TYPE_CHECKING:
    from mam.config.schema import Config

SHOWN = {
    "stability": "how λ learnt with different seeds agrees",
    "mismatch": "the effect of differences in depth, width and heads, over pairs",
    "similarity": "whether source layers that are more similar to the target's merge better",
}
SECOND_STAGES = {
    "none": "one stage",
    "transfer": "λ learnt on each data set, then frozen on the others",
    "siblings": "the model fine-tuned on one data set merged into the one fine-tuned on another",
}
STAGE_ARMS = {"transfer": ("own", "carried", "carried-*", "fixed-*")}  # created by a second stage
TABLES = {"none": "no table of the paper", "zero_shot": "merging without training", "trained": "fine-tuning"}


MOST_RUNS = 10**6


@dataclass
class LaunchConfig:
    """Options of launchers with several processes, in addition to Hydra's own keys."""

    jobs_per_task: Annotated[
        int,
        Ge(1),
        Le(10**6),
        Doc("number of runs per process, one after another (hydra/launcher=joblib or slurm)"),
    ] = 1
    max_runs: Annotated[
        int,
        Ge(1),
        Le(MOST_RUNS),
        Doc("maximum number of runs of one command; more is an error"),
    ] = 10_000
    patience_minutes: Annotated[
        float,
        Ge(0),
        Le(10**5),
        Doc("minutes after which mam stops waiting if Slurm does not answer or no remaining job can start"),
    ] = 15.0
    wait: Annotated[
        bool,
        Doc("whether to wait for Slurm jobs; false: submit and exit (the same command collects the results later)"),
    ] = True


@dataclass
class StageConfig:
    """The runs of a second stage: every combination of ``axes``, in every arm."""

    axes: Annotated[dict[str, list[Any]], Doc("like study.axes, for the second stage")] = field(default_factory=dict)
    arms: Annotated[dict[str, list[str]], Doc("like study.arms, for the second stage")] = field(default_factory=dict)


@dataclass
class StudyConfig:
    """Several runs that end in one table: every combination of ``axes``, in every arm."""

    name: Annotated[str, Doc("name of the study and of its folder")] = "none"
    title: Annotated[str, Doc("title of the table, if it reproduces one of the paper's")] = ""
    axes: Annotated[
        dict[str, list[Any]],
        Doc(
            "keys of the configuration, each with a list of values; layers.spec also takes each (every layer alone),"
            " tops (top2, top3, ..., all) and bottoms (bottom2, bottom3, ...)"
        ),
    ] = field(default_factory=dict)
    arms: Annotated[
        dict[str, list[str]],
        Doc("arms: named lists of overrides (KEY=VALUE), each combined with all values of the axes"),
    ] = field(default_factory=dict)
    pairs: Annotated[list[Any], Doc("pairs of models, [target, source], as hub ids or folders")] = field(
        default_factory=list
    )
    reference: Annotated[str | None, Doc("arm with which all other arms are compared")] = None
    against: Annotated[
        dict[str, list[str]],
        Doc("further comparisons: an arm, or a pattern such as carried*, and the arms to compare it with"),
    ] = field(default_factory=dict)
    show: Annotated[list[str], Doc("further analyses of the runs: stability, mismatch, similarity")] = field(
        default_factory=list
    )
    then: Annotated[
        str, OneOf(SECOND_STAGES), Doc("second stage, which uses the results of the first: transfer, siblings")
    ] = "none"
    second: Annotated[StageConfig, Doc("runs of the second stage, for study.then=siblings")] = field(
        default_factory=StageConfig
    )
    table: Annotated[
        str, OneOf(TABLES), Doc("which of the paper's tables the study reproduces: zero_shot, trained")
    ] = "none"
    labels: Annotated[dict[str, str], Doc("labels of arms in that table")] = field(default_factory=dict)
    paper_arm: Annotated[str | None, Doc("arm whose row also shows the paper's result")] = None
    arm: Annotated[str, Doc("arm to which a run belongs; set by mam")] = ""

    @property
    def is_plan(self) -> bool:
        """True if the study has axes, arms or pairs."""
        return bool(self.axes or self.arms or self.pairs)


def study_problems(config: Config) -> Iterator[str]:
    """Yield arms that are named but not defined, and unknown names in ``show``."""
    study = config.study
    for name in study.show:
        if name not in SHOWN:
            yield f"study.show={name}: not known. Choose from: {choices(list(SHOWN))}"
    has_own_stage = bool(study.second.axes or study.second.arms)
    if has_own_stage and study.then != "siblings":
        yield "study.second: has no effect without study.then=siblings"
    if study.then == "siblings" and not has_own_stage:
        yield "study.then=siblings: needs the merges of the second stage. Set study.second.axes and study.second.arms"
    patterns = [*study.arms, *study.second.arms, *STAGE_ARMS.get(study.then, ())]
    named: list[tuple[str, str | None]] = [("reference", study.reference), ("paper_arm", study.paper_arm)]
    named += [(f"against.{arm}", other) for arm, others in study.against.items() for other in others]
    for key, arm_name in named:
        if arm_name is not None and not any(
            fnmatchcase(arm, arm_name) or fnmatchcase(arm_name, arm) for arm in patterns
        ):
            yield f"study.{key}={arm_name}: there is no such arm. Choose one of: {choices(patterns)}"
