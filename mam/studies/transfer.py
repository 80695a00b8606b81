"""Transfer of a learnt λ: learnt on one data set, then frozen in fine-tuning on another.

It is compared there with the λ learnt on that data set and with the best fixed λ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mam.config.job import Job
from mam.config.studies import extended
from mam.errors import ConfigError
from mam.scoring.wording import counted
from mam.studies.execute import Member

GRID = (0.02, 0.05, 0.1, 0.2)  # fixed λ to choose from on dev
FIXED = "fixed-"  # prefix of their arms' names

Stage = Callable[[Sequence[Job]], list[Member]]  # runs a plan


def with_transfer(study: Job, first: Sequence[Member], launch: Stage) -> list[Member]:
    """Run the second stage of a study with the λ learnt in the first, and return the members of both.

    On each data set only the fixed λ chosen on dev is kept.

    Raises:
        ConfigError: λ was learnt on fewer than two data sets.
    """
    return without_rejected([*first, *launch(second_stage(study, first))])


def second_stage(study: Job, first: Sequence[Member]) -> list[Job]:
    """Return jobs with fixed λ and frozen λ on every data set. The first stage (FT and L-MAM) learnt the frozen ones.

    Raises:
        ConfigError: λ was learnt on fewer than two data sets.
    """
    learnt = {
        member.job.config.data.name: member.outcome.result.merge.lam
        for member in first
        if member.outcome is not None and member.job.config.train.is_lmam and member.job.config.control == "none"
    }
    if len(learnt) < 2:
        raise ConfigError(
            f"study.axes.data: λ was learnt on {counted(len(learnt), 'data set')}, but carrying it over needs two."
        )
    jobs = []
    for data in learnt:
        arms = {f"{FIXED}{lam:g}": ["train=finetune", f"lam={lam:g}", "schedule=constant"] for lam in GRID}
        for name, lams in learnt.items():
            values = ",".join(f"{lam:.6f}" for lam in lams)
            arms[_arm_of(name, data, len(learnt))] = ["train=finetune", "schedule=list", f"schedule.values=[{values}]"]
        jobs += [extended(study, [f"data={data}", *words, f"study.arm={arm}"]) for arm, words in arms.items()]
    return jobs


def _arm_of(learnt_on: str, data: str, count: int) -> str:
    """Return the name of the arm that uses λ learnt on one of ``count`` data sets for training on another."""
    if learnt_on == data:
        return "own"
    return "carried" if count == 2 else f"carried-{learnt_on}"


def without_rejected(members: Sequence[Member]) -> list[Member]:
    """Return the members without the fixed λ that dev rejected on their data set. Ties go to the smallest λ."""
    best: dict[str, tuple[float, Member]] = {}
    for member in members:
        if member.outcome is not None and _is_fixed(member) and member.outcome.result.train is not None:
            rate, data = member.outcome.result.train.dev.after, member.job.config.data.name
            if data not in best or rate < best[data][0]:
                best[data] = rate, member
    chosen = [member for _, member in best.values()]
    return [member for member in members if not _is_fixed(member) or member in chosen]


def _is_fixed(member: Member) -> bool:
    return member.job.config.study.arm.startswith(FIXED)
