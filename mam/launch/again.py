"""Starting a recorded run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mam.config.compose import jobs
from mam.evaluation.inputs import Inputs
from mam.files import expanded
from mam.launch.start import run_one
from mam.runs.again import differences, recorded, unequal
from mam.runs.question import RunOutcome
from mam.runs.shapes import with_shapes
from mam.terminal import Terminal


@dataclass(frozen=True)
class MadeAgain:
    """A run that was made again: its outcome, what differed before it, and the number of unequal predictions."""

    outcome: RunOutcome
    differences: list[str]
    unequal: int


def run_again(folder: str, words: Sequence[str], terminal: Terminal) -> MadeAgain:
    """Make the run in ``folder`` again, with further words; first say in what it differs from the record.

    Raises:
        MamError: The folder is no finished run, or it cannot be made here.
    """
    before = recorded(expanded(folder), words)
    (job,) = with_shapes(jobs(before.words, search=before.search).jobs)
    found = differences(before, job, Inputs(terminal))
    for difference in found:
        terminal.say(f"difference from {folder}: {difference}")
    outcome = run_one(job, terminal)
    return MadeAgain(outcome, found, unequal(before.folder, outcome.folder))
