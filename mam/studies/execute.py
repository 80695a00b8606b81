"""Run a plan: every job on one workbench, one after the other; a failed job is noted and the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mam.compose import Job
from mam.errors import MamError
from mam.evaluation.workbench import Workbench
from mam.record import run_root
from mam.run import Outcome, run


@dataclass(frozen=True)
class Ended:
    """A job and how it ended: an outcome, or the message of what went wrong."""

    job: Job
    outcome: Outcome | None
    error: str | None


def study_folder(plan: Sequence[Job], name: str) -> Path:
    """Where a plan that starts now goes: ``outputs/<date>/<time>-<name>/`` of its first job."""
    return run_root(plan[0].config.outputs) / f"{datetime.now():%H-%M-%S}-{name}"


def execute(plan: Sequence[Job], bench: Workbench, folder: Path) -> list[Ended]:
    """Run every job of ``plan`` in ``folder`` (or its like under its own ``outputs``); finished ones are found."""
    ended = []
    for number, job in enumerate(plan, 1):
        parent = run_root(job.config.outputs) / folder.name
        outcome, error = None, None
        try:
            outcome = run(job, bench, parent)
        except (MamError, OSError) as problem:  # the system's refusals are this job's alone
            error = str(problem)
        varied = " ".join(f"{key}={value}" for key, value in job.varied(plan).items())
        bench.terminal.say(f"[{number}/{len(plan)}] {varied}: {_how(outcome)}")
        ended.append(Ended(job, outcome, error))
    return ended


def _how(outcome: Outcome | None) -> str:
    if outcome is None:
        return "failed"
    return f"skipped, finished in {outcome.folder}" if outcome.status == "skipped" else "finished"
