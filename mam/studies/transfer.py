"""Does a learnt λ carry over? λ learnt on one data set, frozen and fine-tuned with on another, against its own and
against the best fixed λ."""

from __future__ import annotations

from collections.abc import Sequence

from mam.config.compose import Job
from mam.config.plans import extended
from mam.errors import ConfigError
from mam.studies.execute import Ended

GRID = (0.02, 0.05, 0.1, 0.2)  # fixed λ, of which dev chooses


def second_stage(study: Job, first: Sequence[Ended]) -> list[Job]:
    """Fixed λ and frozen λ on every data set, from the λ that the first stage (FT and L-MAM) learnt on each.

    Raises:
        ConfigError: λ was learnt on fewer than two data sets.
    """
    learnt = {
        end.job.config.data.name: end.outcome.result["merge"]["lam"]
        for end in first
        if end.outcome is not None and end.job.config.train.name == "lmam" and end.job.config.control == "none"
    }
    if len(learnt) < 2:
        raise ConfigError(f"study.axes.data: λ was learnt on {len(learnt)} data sets; to carry over it needs two.")
    frozen = {name: f"schedule.values=[{','.join(f'{lam:.6f}' for lam in lams)}]" for name, lams in learnt.items()}
    made = []
    for data in learnt:
        arms = {f"fixed-{lam:g}": ["train=finetune", f"lam={lam:g}", "schedule=constant"] for lam in GRID}
        arms |= {
            "own" if name == data else "carried" if len(learnt) == 2 else f"carried-{name}": [
                "train=finetune",
                "schedule=list",
                values,
            ]
            for name, values in frozen.items()
        }
        made += [extended(study, [f"data={data}", *words, f"study.arm={arm}"]) for arm, words in arms.items()]
    return made


def without_rejected(ended: Sequence[Ended]) -> list[Ended]:
    """Of the fixed λ on each data set only the one that dev chose, the smallest of equal ones, as ``fixed``."""
    best: dict[str, tuple[float, Ended]] = {}
    for end in ended:
        if end.outcome is not None and end.job.config.study.arm.startswith("fixed-"):
            rate = end.outcome.result["train"]["dev"]["after"]
            data = end.job.config.data.name
            if data not in best or rate < best[data][0]:
                best[data] = rate, end
    chosen = [end for _, end in best.values()]
    return [end for end in ended if not end.job.config.study.arm.startswith("fixed-") or end in chosen]
