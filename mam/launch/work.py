"""The work of a launcher's process: some jobs of a plan, one after the other, and a note on how each ended."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mam.config.schema import code_identity
from mam.config.search import SearchPath
from mam.errors import MamError
from mam.files import expanded, sha256_json, write_json
from mam.small_files import read_json

if TYPE_CHECKING:
    from mam.config.job import Job
    from mam.evaluation.inputs import Inputs
    from mam.studies.execute import Member

LOOK = 0.5  # seconds between checks for ended jobs
ENDED, LEFT_OUT = "ended", "left out"
_inputs: list[Inputs] = []  # one per process, so that models are kept between tasks


@dataclass(frozen=True)
class JobBatch:
    """Jobs, given by their words, that one process runs in ``folder``. Called again, it runs the missing ones."""

    jobs: tuple[tuple[str, ...], ...]
    folder: Path
    place: Path  # working directory, to which paths in the words are relative
    search: SearchPath
    threads: int | None

    def __call__(self) -> None:
        """Run the jobs. Failures are noted, not raised."""
        os.chdir(self.place)
        if self.threads is not None:
            os.environ.setdefault("OMP_NUM_THREADS", str(self.threads))
        from mam.config.composer import Composer
        from mam.evaluation.inputs import Inputs
        from mam.libraries import quiet_libraries
        from mam.report.lambdas import draw_lambdas
        from mam.runs.shapes import with_shapes
        from mam.studies.execute import execute

        quiet_libraries()
        logging.raiseExceptions = False
        if not _inputs:
            _inputs.append(Inputs())
        with Composer(self.search) as composer:
            plan = with_shapes([composer.job(words) for words in self.jobs])
        missing = [job for job in plan if read_note(self.folder, job) is None]
        for job in missing:
            job.config.evaluate.share = True

        def when_ended(member: Member) -> None:
            if member.outcome and member.outcome.status == "finished":
                draw_lambdas(member.outcome.folder, member.outcome.result)
            write_note(self.folder, member)

        if missing:
            execute(missing, _inputs[0], self.folder, when_ended)

    @property
    def is_done(self) -> bool:
        """True if each of its jobs has ended."""
        return all(_note_of(self.folder, words).is_file() for words in self.jobs)

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """Return what submitit requeues after a preemption: the same batch, which runs the missing jobs."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class Submission:
    """Tasks that are in a queue: their id there, and the study's folder, in which their jobs leave notes.

    ``tasks`` holds the names of the notes of each task, in the order of the queue's numbers: a later command may cut
    what is missing into other tasks.
    """

    path: Path
    folder: Path
    queue_id: str | None = None
    tasks: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, plan: Sequence[Job], wave: int, folder: Path) -> Submission:
        """Return what an earlier command submitted of this plan, or a submission in ``folder`` still to come."""
        asked = [[*job.search.words, *_settling(job.words), code_identity(job.config)] for job in plan]
        name = f"{sha256_json(asked)[:16]}-{wave}.json"
        path = expanded(plan[0].config.outputs) / "queued" / name
        try:
            noted = read_json(path)
            tasks = tuple(tuple(map(str, names)) for names in noted["tasks"])
            return cls(path, Path(noted["folder"]), str(noted["queue_id"]), tasks)
        except (MamError, ValueError, TypeError, KeyError):
            return cls(path, folder)

    def keep(self, queue_id: str, batches: Sequence[JobBatch]) -> Submission:
        """Note that the tasks are in the queue, so that the same command finds them there."""
        tasks = tuple(tuple(map(note_name, batch.jobs)) for batch in batches)
        write_json(self.path, {"queue_id": queue_id, "folder": str(self.folder.absolute()), "tasks": tasks})
        return replace(self, queue_id=queue_id, tasks=tasks)

    def forget(self) -> None:
        """Remove the note: all of the jobs have ended."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class LaunchRequest:
    """The input of a launcher.

    ``left`` returns the jobs that have not ended, and reports each that has, once. ``lose`` is told the names of notes
    that no job will leave any more, and why.
    """

    tasks: Sequence[JobBatch]
    settings: Mapping[str, Any]
    words: tuple[str, ...]
    search: SearchPath
    folder: Path
    left: Callable[[], list[Job]]
    lose: Callable[[Sequence[str], str], None]
    patience_minutes: float
    say: Callable[[str], None]
    submission: Submission
    waits: bool = True


def run_reporting(work: Callable[[], None], errand: LaunchRequest) -> None:
    """Run a launcher's blocking call in a thread, and report jobs as they end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK)
        errand.left()


def tasks_of(plan: Sequence[Job], folder: Path, each: int, threads: int | None) -> list[JobBatch]:
    """Cut a plan into tasks of ``each`` jobs, in its order."""
    words = [job.words for job in plan]
    batches = [tuple(words[start : start + each]) for start in range(0, len(words), each)]
    return [JobBatch(batch, folder.absolute(), Path.cwd(), plan[0].search, threads) for batch in batches]


def write_note(folder: Path, member: Member) -> None:
    """Write ``folder/ended/<hash of its words>.json``: the run folder of a job, or its error."""
    write_json(
        _note(folder, member.job),
        {
            "status": member.outcome.status if member.outcome else LEFT_OUT if member.is_unfit else "failed",
            "folder": str(member.outcome.folder.absolute()) if member.outcome else None,
            "error": member.error,
            "log": str(member.log) if member.log else None,
        },
    )


def read_note(folder: Path, job: Job) -> dict[str, Any] | None:
    """Return the note of a job, or None if it has not ended."""
    try:
        return dict(read_json(_note(folder, job)))
    except (MamError, ValueError, TypeError):
        return None


def _note(folder: Path, job: Job) -> Path:
    return _note_of(folder, job.words)


def _note_of(folder: Path, words: Sequence[str]) -> Path:
    return folder / ENDED / f"{note_name(words)}.json"


def note_name(words: Sequence[str]) -> str:
    """Return the name of the note that the job of these words leaves."""
    return sha256_json(_settling(words))[:16]


def _settling(words: Sequence[str]) -> list[str]:
    """Return the words that settle what is run, without those that say how it is waited for."""
    return [word for word in words if not word.startswith("launch.")]
