"""Running a plan: every job on one workbench, one after the other. A failed job does not stop the others."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mam import processes
from mam.config.job import Job
from mam.config.merging import plan_of
from mam.config.model import shapes
from mam.config.words import key_values
from mam.errors import MamError, UnfitError
from mam.evaluation.inputs import Inputs
from mam.files import atomic, expanded
from mam.locks import BusyError
from mam.merging.by_layer import selected_layers
from mam.records.folder import run_root
from mam.runs.question import RunOutcome
from mam.runs.run import run

log = logging.getLogger("mam")


@dataclass(frozen=True)
class Member:
    """A job of a plan and its outcome, or an error message and the path of its log.

    With ``is_unfit`` nothing failed, but the options are not defined for this pair of models; ``error`` gives the
    reason.
    """

    job: Job
    outcome: RunOutcome | None
    error: str | None
    log: Path | None = None
    is_unfit: bool = False


def study_folder(plan: Sequence[Job], name: str) -> Path:
    """Return the folder of a plan that starts now: ``outputs/<date>/<time>-<name>/`` of its first job."""
    return run_root(plan[0].config.outputs) / f"{datetime.now():%H-%M-%S}-{name}"


def in_order(plan: Sequence[Job]) -> list[Job]:
    """Return the jobs with those that share models, data and states next to each other, lowest merged layer first."""
    return sorted(plan, key=_shared)  # stable, so that equal keys keep the order of the plan


def _shared(job: Job) -> tuple[str, int]:
    config, resolved = job.config, job.resolved
    together = json.dumps([resolved[key] for key in ("model", "data", "dtype", "device", "compile", "head")])
    is_trained = config.train.name != "none"  # trainings share no states, and later ones are compared with earlier ones
    return together, 0 if is_trained else selected_layers(config, shapes(config.model)[0])[0]


def execute(
    plan: Sequence[Job], inputs: Inputs, folder: Path, when_ended: Callable[[Member], None] = lambda _: None
) -> list[Member]:
    """Run every job of ``plan`` in ``folder``, or in one of the same date and name under the job's own ``outputs``.

    Finished runs are not repeated. The order of execution is that of `in_order`; the members are returned in the order
    of the plan. A failed job leaves its message in ``folder/failures``, or the traceback if the user cannot fix the
    error.

    Args:
        plan: the jobs.
        inputs: shared by all runs.
        folder: of the study.
        when_ended: called with each member when its job has ended.
    """
    say_schedules(plan, inputs.terminal.say)
    members: dict[int, Member] = {}
    remaining = in_order(plan)
    while remaining:
        member = _next(remaining, inputs, folder)
        remaining = [job for job in remaining if job is not member.job]
        members[id(member.job)] = member
        number = len(plan) - len(remaining)
        inputs.terminal.say(f"[{number}/{len(plan)}] {varied_text(member.job, plan)}: {how(member)}")
        when_ended(member)
    return [members[id(job)] for job in plan]


def _next(remaining: Sequence[Job], inputs: Inputs, folder: Path) -> Member:
    """Run the first job that no other command is computing; wait for the first one if all are."""
    if processes.count() == 1:  # several processes must agree on the job
        for job in remaining:
            with suppress(BusyError):
                return _run(job, inputs, folder, waits=False)
    return _run(remaining[0], inputs, folder, waits=True)


def _run(job: Job, inputs: Inputs, folder: Path, waits: bool) -> Member:
    """Run one job; raises BusyError as `mam.runs.run.run` does."""
    try:
        parent = expanded(job.config.outputs) / folder.parent.name / folder.name
        return Member(job, run(job, inputs, parent, waits), None)
    except UnfitError as problem:
        return Member(job, None, str(problem), is_unfit=True)
    except BusyError:
        raise
    except Exception as problem:  # a failure of any kind must not stop the other jobs
        if processes.count() > 1:  # the other processes wait for this one; torchrun ends them all
            raise
        is_said = isinstance(problem, MamError | OSError)
        error = str(problem) if is_said else f"{type(problem).__name__}: {problem}"
        return Member(job, None, error, _noted(folder, job, error if is_said else traceback.format_exc()))


def say_schedules(plan: Sequence[Job], say: Callable[[str], None]) -> None:
    """Print λ of every layer, once for each distinct schedule that is not constant."""
    shaped = [job.config for job in plan if job.config.schedule.name != "constant"]
    lines = [plan_of(config).by_layer for config in shaped]
    for line in dict.fromkeys(lines):
        say(line)


def varied_text(job: Job, plan: Sequence[Job]) -> str:
    """Return the settings in which a job differs from others of its plan."""
    return key_values(job.varied(plan))


def how(member: Member) -> str:
    """Return how a job ended, in a few words."""
    if member.outcome is None:
        return "left out" if member.is_unfit else "failed"
    return f"skipped: finished before, in {member.outcome.folder}" if member.outcome.status == "skipped" else "finished"


def _noted(folder: Path, job: Job, text: str) -> Path | None:
    path = folder / "failures" / f"{job.signature}.log"
    try:
        with atomic(path) as file:
            file.write(f"mam run {' '.join(job.words)}\n\n{text}\n")
    except MamError as error:  # the job may have failed because of the disk
        log.warning("%s", error)
        return None
    return path
