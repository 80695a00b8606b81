"""Run a plan: every job on one workbench, one after the other; a failed job is noted and the others go on."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mam import processes
from mam.config.composer import Job
from mam.config.model import shapes
from mam.errors import MamError, UnfitError
from mam.evaluation.workbench import Workbench
from mam.files import atomic
from mam.merge.plan import plan_merge
from mam.records.folder import run_root
from mam.runs.run import RunOutcome, run

log = logging.getLogger("mam")


@dataclass(frozen=True)
class Member:
    """A job of a plan and how it ended: an outcome, or the message of what went wrong and where more is said.

    ``is_unfit``: nothing went wrong, but what was asked for has no meaning for this pair of models, says ``error``.
    """

    job: Job
    outcome: RunOutcome | None
    error: str | None
    log: Path | None = None
    is_unfit: bool = False


def study_folder(plan: Sequence[Job], name: str) -> Path:
    """Where a plan that starts now goes: ``outputs/<date>/<time>-<name>/`` of its first job."""
    return run_root(plan[0].config.outputs) / f"{datetime.now():%H-%M-%S}-{name}"


def in_order(plan: Sequence[Job]) -> list[Job]:
    """The jobs so that those which share models, data and states stand together, from the lowest merged layer on."""
    return sorted(plan, key=_shared)  # stable: within them as planned


def _shared(job: Job) -> tuple[str, int]:
    config, resolved = job.config, job.resolved
    together = json.dumps([resolved[key] for key in ("model", "data", "dtype", "device", "compile", "head")])
    is_trained = config.train.name != "none"  # shares no states; later ones are compared with earlier ones
    return together, 0 if is_trained else plan_merge(config, *shapes(config.model), config.seed).first


def execute(
    plan: Sequence[Job], bench: Workbench, folder: Path, when_ended: Callable[[Member], None] = lambda _: None
) -> list[Member]:
    """Run every job of ``plan`` in ``folder`` (or its like under its own ``outputs``); finished ones are found.

    The order is that of `in_order`; what is returned is in the order of the plan. A job that fails leaves its message,
    and the traceback of what is not its user's to mend, in ``folder/failures``.
    """
    say_schedules(plan, bench.terminal.say)
    members: dict[int, Member] = {}
    for number, job in enumerate(in_order(plan), 1):
        outcome, error, where, is_unfit = None, None, None, False
        try:
            outcome = run(job, bench, run_root(job.config.outputs) / folder.name)
        except UnfitError as problem:
            error, is_unfit = str(problem), True
        except Exception as problem:  # one job's failure, whatever it is, neither stops nor hides the others
            if processes.count() > 1:  # the other processes wait for this one: torchrun ends them all
                raise
            is_said = isinstance(problem, MamError | OSError)
            error = str(problem) if is_said else f"{type(problem).__name__}: {problem}"
            where = _noted(folder, job, error if is_said else traceback.format_exc())
        members[id(job)] = Member(job, outcome, error, where, is_unfit)
        bench.terminal.say(f"[{number}/{len(plan)}] {varied_text(job, plan)}: {how(members[id(job)])}")
        when_ended(members[id(job)])
    return [members[id(job)] for job in plan]


def say_schedules(plan: Sequence[Job], say: Callable[[str], None]) -> None:
    """λ of every layer, once for each set of λ that is not the same in all layers."""
    shaped = [job.config for job in plan if job.config.schedule.name != "constant"]
    lines = [plan_merge(config, *shapes(config.model), config.seed).by_layer for config in shaped]
    for line in dict.fromkeys(lines):
        say(line)


def varied_text(job: Job, plan: Sequence[Job]) -> str:
    """Return what distinguishes a job from the others of its plan."""
    return " ".join(f"{key}={value}" for key, value in job.varied(plan).items())


def how(member: Member) -> str:
    """Return how a job ended, in a word or two."""
    if member.outcome is None:
        return "left out" if member.is_unfit else "failed"
    return f"skipped, finished in {member.outcome.folder}" if member.outcome.status == "skipped" else "finished"


def _noted(folder: Path, job: Job, text: str) -> Path | None:
    path = folder / "failures" / f"{job.signature}.log"
    try:
        with atomic(path) as file:
            file.write(f"mam run {' '.join(job.words)}\n\n{text}\n")
    except MamError as error:  # the disk itself may be what failed
        log.warning("%s", error)
        return None
    return path
