"""Running a plan through a launcher: find finished jobs, send out the rest, collect the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from mam.config.job import Job
from mam.config.merging import merges_nothing
from mam.config.schema import code_of
from mam.errors import ConfigError, MamError, NotEndedError, RecordError, StillQueuedError, UnfitError, choices
from mam.evaluation.inputs import Inputs
from mam.extensions import SESSION
from mam.launch.settings import Launcher, processors
from mam.launch.work import LEFT_OUT, LaunchRequest, Submission, note_name, read_note, tasks_of
from mam.records.reading import read_result
from mam.runs.question import RunOutcome, finished_run
from mam.studies.execute import Member, execute, how, in_order, say_schedules, varied_text

SENDERS = {"joblib": ("local", "send_to_processes"), "slurm": ("slurm", "send_to_slurm")}
LOST = "ended without a message: killed, out of memory or out of time"
NOT_STARTED = "not started: the regular fine-tuning used as its baseline has not finished"


@dataclass
class Wave:
    """Jobs of a plan that are sent out together, and why some of them, by the names of their notes, leave none."""

    jobs: Sequence[Job]
    plan: Sequence[Job]
    submission: Submission
    say: Callable[[str], None]
    reasons: dict[str, str] = field(default_factory=dict)
    _reported: set[int] = field(default_factory=set)

    def left(self) -> list[Job]:
        """Return the jobs that have not ended; report each job that has, once."""
        for job in self.jobs:
            if id(job) not in self._reported:
                note = read_note(self.submission.folder, job)
                status = self.reasons.get(_name(job)) if note is None else note["status"]
                if status is not None:
                    self._reported.add(id(job))
                    self.say(f"[{len(self._reported)}/{len(self.jobs)}] {varied_text(job, self.plan)}: {status}")
        return [job for job in self.jobs if id(job) not in self._reported]

    def lose(self, names: Sequence[str], reason: str) -> None:
        """Take it that these jobs have ended, for this reason, if they have left no note."""
        self.reasons |= dict.fromkeys(names, reason)


def launch(plan: Sequence[Job], inputs: Inputs, folder: Path, launcher: Launcher) -> list[Member]:
    """Run every job of ``plan``, in this process or by a launcher, and return the members in the order of the plan.

    Regular fine-tunings run before other trainings, which are compared with them.
    """
    if launcher.name == "basic":
        return execute(plan, inputs, folder)
    _refuse_code_of_session(plan, launcher)
    say_schedules(plan, inputs.terminal.say)
    members: dict[int, Member] = {}
    for job in plan:
        member = _finished(job, inputs)
        if member is not None:
            members[id(job)] = member
            inputs.terminal.say(f"{varied_text(job, plan)}: {how(member)}")
    missing = [job for job in in_order(plan) if id(job) not in members]
    is_held_up = False
    for number, is_ft in enumerate((True, False)):
        jobs = [job for job in missing if _is_ft(job) == is_ft]
        wave = Wave(jobs, plan, Submission.of(plan, number, folder), inputs.terminal.say)
        if not jobs:
            wave.submission.forget()
        elif is_held_up:
            wave.reasons = dict.fromkeys(map(_name, jobs), NOT_STARTED)
        else:
            try:
                _send(wave, launcher)
            except StillQueuedError:
                raise
            except MamError as problem:  # jobs that ended nevertheless are shown
                if isinstance(problem, ConfigError) and len(members) == len(plan) - len(missing):
                    raise
                inputs.terminal.error(str(problem))
                if isinstance(problem, NotEndedError):
                    is_held_up = True
                    wave.reasons = dict.fromkeys(map(_name, wave.left()), problem.each) | wave.reasons
        members |= {id(job): _ended(job, wave, inputs) for job in jobs}
    return [members[id(job)] for job in plan]


def _refuse_code_of_session(plan: Sequence[Job], launcher: Launcher) -> None:
    """Raise ConfigError for code of this process, which others do not have."""
    names = {code.name for job in plan for code in code_of(job.config) if code.place == SESSION}
    if names:
        raise ConfigError(
            f"hydra/launcher={launcher.name}: starts other processes, which do not have {choices(list(names))} from"
            " this session. Put the code into a file and set plugins=[./FILE.py]"
        )


def _send(wave: Wave, launcher: Launcher) -> None:
    """Start the tasks of a wave and return when all of its jobs have ended, or no more can be expected."""
    first = wave.jobs[0]
    at_once = launcher.settings.get("n_jobs") or 1
    threads = max(1, processors() // at_once) if launcher.name == "joblib" else launcher.settings.get("cpus_per_task")
    request = LaunchRequest(
        tasks=tasks_of(wave.jobs, wave.submission.folder, first.config.launch.jobs_per_task, threads),
        settings=launcher.settings,
        words=launcher.words,
        search=first.search,
        folder=wave.submission.folder,
        left=wave.left,
        lose=wave.lose,
        patience_minutes=first.config.launch.patience_minutes,
        say=wave.say,
        submission=wave.submission,
        waits=first.config.launch.wait,
    )
    _sender(launcher.name)(request)
    wave.left()


def _sender(launcher: str) -> Callable[[LaunchRequest], None]:
    """Return the function that sends tasks out; its libraries are imported only when they are needed."""
    module, function = SENDERS.get(launcher, ("by_hydra", "send_by_hydra"))
    sender: Callable[[LaunchRequest], None] = getattr(import_module(f"mam.launch.{module}"), function)
    return sender


def _finished(job: Job, inputs: Inputs) -> Member | None:
    """Return the member of a job that was finished before, or whose input cannot be found."""
    try:
        outcome = finished_run(job, inputs)
    except (MamError, OSError) as problem:
        return Member(job, None, str(problem), is_unfit=isinstance(problem, UnfitError))
    return None if outcome is None else Member(job, outcome, None)


def _ended(job: Job, wave: Wave, inputs: Inputs) -> Member:
    folder = wave.submission.folder
    note = read_note(folder, job)
    if note is None:  # killed, perhaps after its result was written
        reason = wave.reasons.get(_name(job), LOST)
        return _finished(job, inputs) or Member(job, None, reason, None if reason == NOT_STARTED else folder / "logs")
    if note["folder"] is None:
        log = Path(note["log"]) if note["log"] else None
        return Member(job, None, note["error"], log, note["status"] == LEFT_OUT)
    path = Path(note["folder"])
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    try:
        return Member(job, RunOutcome(note["status"], path, read_result(path)), None)
    except RecordError as problem:  # the result was damaged or removed in the meantime
        return Member(job, None, str(problem))


def _name(job: Job) -> str:
    return note_name(job.words)


def _is_ft(job: Job) -> bool:
    return job.config.train.name == "finetune" and merges_nothing(job.config)
