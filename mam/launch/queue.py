"""Slurm's queue: which tasks of an array wait, run or have ended, why they wait, and what helps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FORMAT = "%i|%T|%r"  # of squeue; the reason comes last, since it is free text
CANCELLED = "cancelled in Slurm"
# How mam calls the states in which a task has ended without having finished its jobs.
ENDINGS = {
    "CANCELLED": CANCELLED,
    "TIMEOUT": "out of time in Slurm (TIMEOUT): raise hydra.launcher.timeout_min",
    "OUT_OF_MEMORY": "out of memory in Slurm (OUT_OF_MEMORY): raise hydra.launcher.mem_gb",
    "NODE_FAIL": "node failure in Slurm (NODE_FAIL)",
    "BOOT_FAIL": "node did not start in Slurm (BOOT_FAIL)",
    "FAILED": "ended without a message in Slurm (FAILED): killed or out of memory",
    "DEADLINE": "deadline passed in Slurm (DEADLINE)",
    "PREEMPTED": "preempted in Slurm and not requeued (PREEMPTED)",
    "REVOKED": "revoked in Slurm (REVOKED)",
}
ENDED = {*ENDINGS, "COMPLETED"}
HELD_STATES = {"REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}  # states of their own, not reasons of PENDING
NO_REASON = {"", "None", "(null)"}


@dataclass(frozen=True)
class Obstacle:
    """An obstacle to the start of a task: the reasons that Slurm gives, what helps, and whether it can pass by itself.

    ``{ids}`` in the remedy stands for the tasks.
    """

    reasons: re.Pattern[str]
    remedy: str
    passes: bool = False


RELEASE = "Release: `scontrol release {ids}`"
OBSTACLES = (
    Obstacle(re.compile("JobHeldAdmin"), f"{RELEASE}, which may need an administrator"),
    Obstacle(re.compile(r"JobHeld|JobHold|\bheld\b"), RELEASE),
    Obstacle(
        re.compile("DependencyNeverSatisfied"),
        "See `scontrol show job {ids}`: a job that this one depends on has failed",
    ),
    Obstacle(
        re.compile(
            "Nodes required for job are|ReqNodeNotAvail(?!.*May be reserved)|NodeDown|FrontEndDown|PartitionDown"
            "|PartitionInactive|JobLaunchFailure|SystemFailure"
        ),
        "See `sinfo -R` for unavailable nodes and `sinfo` for closed partitions",
    ),
    Obstacle(
        re.compile(
            r"BadConstraints|Partition(Node|Time)Limit|PartitionConfig|Invalid(Account|QOS)|(QOS|Account)NotAllowed"
            r"|QOSMin\w+|(Assoc|QOS)(Grp|Max)\w*Minutes|(Assoc|QOS)Max\w*Per(Job|Node)|(Association|QOS)TimeLimit"
            "|MaxMemPerLimit|AccountingPolicy|ReservationDeleted"
        ),
        "Compare `scontrol show job {ids}` (requested) with `scontrol show partition` (allowed), and request less with"
        " hydra.launcher.*",
    ),
    Obstacle(re.compile("Licenses"), "See `scontrol show licenses` for licences in use", passes=True),
)
HOLDS = OBSTACLES[:2]  # those that someone lays on and takes off


@dataclass(frozen=True)
class QueuedTask:
    """A line of the queue: the number of the task in its array, its state and the reason, "" if there is none."""

    number: int
    state: str
    reason: str

    @property
    def has_ended(self) -> bool:
        """True if it neither runs nor can start again."""
        return self.state in ENDED

    @property
    def obstacle(self) -> Obstacle | None:
        """The obstacle to its start, or None if it runs, has ended or waits for its turn."""
        if self.state in HELD_STATES:
            return HOLDS[1]
        if self.state != "PENDING":  # a running task may keep an old reason
            return None
        return next((obstacle for obstacle in OBSTACLES if obstacle.reasons.search(self.reason)), None)

    @property
    def is_stuck(self) -> bool:
        """True if it will not start by itself."""
        return self.obstacle is not None and not self.obstacle.passes

    @property
    def how(self) -> str:
        """The state, and the reason if it waits: ``PENDING (Priority)``."""
        return self.state if self.state in (*ENDED, "RUNNING") or not self.reason else f"{self.state} ({self.reason})"


def read_queue(answer: str, array: str, count: int) -> list[QueuedTask]:
    """Return the tasks in squeue's answer for an array (or for the single job) of ``count`` tasks, in `FORMAT`.

    What remains of an array from which all tasks were taken has a line without numbers, which stands for no task.

    Raises:
        ValueError: A line is something else; the message quotes it.
    """
    tasks = []
    for line in filter(None, map(str.strip, answer.split("\n"))):
        found = re.fullmatch(rf"{re.escape(array)}(?:_(?:(\d+)|\[([\d,-]+)(?:%\d+)?\]))?\|([A-Z_]+)\|(.*)", line)
        if found is None:
            raise ValueError(f"{line[:200]!r}")
        number, numbers, state, reason = found.groups()
        reason = "" if reason.strip() in NO_REASON else reason.strip()
        several = [] if count > 1 else [0]
        if number or numbers:
            several = _numbers(number or numbers, count, line)
        tasks += [QueuedTask(each, state, reason) for each in several]
    return tasks


def _numbers(text: str, count: int, line: str) -> list[int]:
    """Return the numbers in ``0-2,5``; raise ValueError for what is no range below ``count``."""
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part, re.ASCII)
        if found is None or not int(found[1]) <= int(found[2] or found[1]) < count:
            raise ValueError(f"{line[:200]!r}")
        numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
    return numbers


def ids_of(array: str, numbers: Iterable[int], count: int) -> str:
    """Return the tasks as Slurm's commands take them: ``7``, ``7_3``, or ``'7_[0-2,5]'``, quoted for the shell."""
    if count == 1:
        return array
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    return f"{array}_{texts[0]}" if texts[0].isdigit() and len(texts) == 1 else f"'{array}_[{','.join(texts)}]'"


def obstacles_of(tasks: Sequence[QueuedTask], array: str, count: int) -> list[str]:
    """Return a sentence for each reason that keeps some of the tasks from starting: how many, why, and what helps."""
    sentences = []
    for how, obstacle in dict.fromkeys((task.how, task.obstacle) for task in tasks):
        if obstacle is not None:
            numbers = [task.number for task in tasks if task.how == how]
            ids = ids_of(array, numbers, count)
            what = "Waiting in Slurm" if obstacle.passes else "Blocked in Slurm, cannot start by itself"
            jobs = "1 job" if len(numbers) == 1 else f"{len(numbers)} jobs"
            remedy = obstacle.remedy.format(ids=ids)
            sentences.append(f"{what}: {jobs}, {how}. {remedy}. To cancel: `scancel {ids}`")
    return sentences


def summary(tasks: Sequence[QueuedTask]) -> str:
    """Return how many tasks are in which state, and why: ``1 RUNNING, 2 PENDING (Priority)``."""
    counts = Counter(task.how for task in tasks)
    return ", ".join(f"{count} {how}" for how, count in sorted(counts.items(), key=lambda pair: pair[0], reverse=True))
