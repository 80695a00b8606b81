"""Running a plan through a launcher: find finished jobs, send out the rest, collect the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from mam.config.job import Job
from mam.config.merging import merges_nothing
from mam.config.schema import code_of
from mam.errors import ConfigError, MamError, RecordError, StillQueuedError, UnfitError, choices
from mam.evaluation.workbench import Workbench
from mam.extensions import SESSION
from mam.launch.settings import Launcher, processors
from mam.launch.work import LEFT_OUT, LaunchRequest, Submission, read_note, tasks_of
from mam.records.reading import read_result
from mam.runs.run import RunOutcome, finished_run
from mam.studies.execute import Member, execute, how, in_order, say_schedules, varied_text

SENDERS = {"joblib": ("local", "send_to_processes"), "slurm": ("slurm", "send_to_slurm")}
LOST = "it ended without a word: killed, out of memory or out of time"


def launch(plan: Sequence[Job], bench: Workbench, folder: Path, launcher: Launcher) -> list[Member]:
    """Run every job of ``plan``, in this process or by a launcher, and return the members in the order of the plan.

    Regular fine-tunings run before other trainings, which are compared with them.
    """
    if launcher.name == "basic":
        return execute(plan, bench, folder)
    _refuse_code_of_session(plan, launcher)
    say_schedules(plan, bench.terminal.say)
    members: dict[int, Member] = {}
    for job in plan:
        member = _finished(job, bench)
        if member is not None:
            members[id(job)] = member
            bench.terminal.say(f"{varied_text(job, plan)}: {how(member)}")
    missing = [job for job in in_order(plan) if id(job) not in members]
    for number, is_ft in enumerate((True, False)):
        wave = [job for job in missing if _is_ft(job) == is_ft]
        submission = Submission.of(plan, number, folder)
        if not wave:
            submission.forget()
        else:
            try:
                _send(wave, plan, submission, launcher, bench)
            except StillQueuedError:
                raise
            except MamError as problem:  # jobs that ended nevertheless are shown
                if isinstance(problem, ConfigError) and len(members) == len(plan) - len(missing):
                    raise
                bench.terminal.error(str(problem))
            members |= {id(job): _ended(job, submission.folder, bench) for job in wave}
    return [members[id(job)] for job in plan]


def _refuse_code_of_session(plan: Sequence[Job], launcher: Launcher) -> None:
    """Raise ConfigError for code of this process, which others do not have."""
    names = {code.name for job in plan for code in code_of(job.config) if code.place == SESSION}
    if names:
        raise ConfigError(
            f"hydra/launcher={launcher.name}: starts other processes, which do not know {choices(list(names))} of this"
            " session. Put the code into a file, plugins=[./FILE.py]"
        )


def _send(
    wave: Sequence[Job], plan: Sequence[Job], submission: Submission, launcher: Launcher, bench: Workbench
) -> None:
    """Start the tasks of a wave and return when all of its jobs have ended, or no more can be expected."""
    folder = submission.folder
    at_once = launcher.settings.get("n_jobs") or 1
    threads = max(1, processors() // at_once) if launcher.name == "joblib" else launcher.settings.get("cpus_per_task")
    tasks = tasks_of(wave, folder, wave[0].config.launch.jobs_per_task, threads)
    reported: set[int] = set()

    def left() -> list[Job]:
        """Return the jobs that have not ended; report each job that has, once."""
        for job in wave:
            note = None if id(job) in reported else read_note(folder, job)
            if note is not None:
                reported.add(id(job))
                number = f"[{len(reported)}/{len(wave)}]"
                bench.terminal.say(f"{number} {varied_text(job, plan)}: {note['status']}")
        return [job for job in wave if id(job) not in reported]

    patience = wave[0].config.launch.patience_minutes
    search, waits = wave[0].search, wave[0].config.launch.wait
    request = LaunchRequest(
        tasks, launcher.settings, launcher.words, search, folder, left, patience, bench.terminal.say, submission, waits
    )
    _sender(launcher.name)(request)
    left()


def _sender(launcher: str) -> Callable[[LaunchRequest], None]:
    """Return the function that sends tasks out; its libraries are imported only when they are needed."""
    module, function = SENDERS.get(launcher, ("by_hydra", "send_by_hydra"))
    sender: Callable[[LaunchRequest], None] = getattr(import_module(f"mam.launch.{module}"), function)
    return sender


def _finished(job: Job, bench: Workbench) -> Member | None:
    """Return the member of a job that was finished before, or whose input cannot be found."""
    try:
        folder = finished_run(job, bench)
    except (MamError, OSError) as problem:
        return Member(job, None, str(problem), is_unfit=isinstance(problem, UnfitError))
    return None if folder is None else Member(job, RunOutcome("skipped", folder, read_result(folder)), None)


def _ended(job: Job, folder: Path, bench: Workbench) -> Member:
    note = read_note(folder, job)
    if note is None:  # killed, perhaps after its result was written
        return _finished(job, bench) or Member(job, None, LOST, folder / "logs")
    if note["folder"] is None:
        log = Path(note["log"]) if note["log"] else None
        return Member(job, None, note["error"], log, note["status"] == LEFT_OUT)
    path = Path(note["folder"])
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    try:
        return Member(job, RunOutcome(note["status"], path, read_result(path)), None)
    except RecordError as problem:  # the result was damaged or removed in the meantime
        return Member(job, None, str(problem))


def _is_ft(job: Job) -> bool:
    return job.config.train.name == "finetune" and merges_nothing(job.config)
