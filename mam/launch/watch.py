"""Watching an array in Slurm's queue: who has ended there without a note, what is held back, when to stop waiting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from mam.errors import NotEndedError
from mam.launch.queue import CANCELLED, ENDINGS, HOLDS, Obstacle, QueuedTask, ids_of, obstacles_of, summary
from mam.launch.work import LaunchRequest, Submission

GONE = 10.0  # seconds that a note may take to appear on a shared disk after its job has left the queue
QUIET = 300.0  # seconds without news after which mam says why jobs wait
LOGS = "logs"


class Watch:
    """Observations of an array so far; `look` is given each answer of Slurm.

    A task that waits for someone's help is no sign of life. A task has ended as Slurm says if two looks in a row agree
    and its jobs have left no note.
    """

    def __init__(self, errand: LaunchRequest, submission: Submission) -> None:
        self._errand, self._array, self._tasks = errand, str(submission.queue_id), submission.tasks
        self._alive = self._answered = self._seen = self._news = time.monotonic()
        self._waiting = len(errand.left())
        self._before: dict[int, QueuedTask] = {}
        self._ending: dict[int, str] = {}
        self._said: set[tuple[int, Obstacle | None]] = set()
        self._reasons: set[str] = set()

    def look(self, tasks: Sequence[QueuedTask] | None) -> bool:
        """Take an answer of Slurm, None if there was none, and return whether to go on waiting.

        Raises:
            NotEndedError: For ``patience_minutes`` Slurm has not answered and no job has written anything, or all that
                is left is held back.
        """
        now, patience = time.monotonic(), 60 * self._errand.patience_minutes
        missing = len(self._errand.left())
        if missing < self._waiting:
            self._waiting, self._alive, self._news = missing, now, now
        if tasks is None:
            self._before, self._ending = {}, {}
            if now - max(self._answered, self._alive, _written(self._errand.folder / LOGS)) > patience:
                raise self._not_answered()
            return True
        self._answered = now
        self._lose(tasks)
        active = [task for task in tasks if not task.has_ended]
        self._say_obstacles(active)
        if active:
            self._seen = now
        elif now - self._seen > GONE:
            return False
        if not active or not all(task.is_stuck for task in active):
            self._alive = now
            self._say_reasons(active)
        elif now - self._alive > patience:
            raise self._held(active)
        return True

    def _lose(self, tasks: Sequence[QueuedTask]) -> None:
        """Report the tasks that Slurm ended. It keeps no trace of one that is cancelled while it waits."""
        listed = {task.number: task for task in tasks}
        ending = {task.number: ENDINGS[task.state] for task in tasks if task.state in ENDINGS}
        if tasks:
            vanished = {number for number, task in self._before.items() if task.state == "PENDING"} | set(self._ending)
            ending |= {number: self._ending.get(number, CANCELLED) for number in vanished if number not in listed}
        for number in ending.keys() & self._ending.keys():
            self._errand.lose(self._tasks[number], ending[number])
        self._before, self._ending = listed, ending

    def _say_obstacles(self, active: Sequence[QueuedTask]) -> None:
        """Say what keeps tasks from starting, once for each task and reason; again if it was let go in the meantime."""
        held = {(task.number, task.obstacle) for task in active}
        running = {task.number for task in active if task.state == "RUNNING"}
        self._said = {key for key in self._said if key[0] not in running and (key[1] not in HOLDS or key in held)}
        new = [task for task in active if task.obstacle and (task.number, task.obstacle) not in self._said]
        self._said.update((task.number, task.obstacle) for task in new)
        for sentence in obstacles_of(new, self._array, len(self._tasks)):
            self._errand.say(sentence)
            self._news = time.monotonic()

    def _say_reasons(self, active: Sequence[QueuedTask]) -> None:
        """After a while without news, say why tasks wait; again only for other reasons."""
        reasons = {task.how for task in active if task.state != "RUNNING" and task.obstacle is None}
        if reasons and reasons != self._reasons and time.monotonic() - self._news > QUIET:
            self._reasons, self._news = reasons, time.monotonic()
            self._errand.say(f"in Slurm as {self._array}: {summary(active)}")

    def _not_answered(self) -> NotEndedError:
        return NotEndedError(
            f"Slurm has not answered for {self._errand.patience_minutes:g} minutes, and no job has written to its log."
            f" Jobs of {self._array} may still be running. Run the same command again to collect their results.",
            f"state unknown: Slurm does not answer about {self._array}",
        )

    def _held(self, active: Sequence[QueuedTask]) -> NotEndedError:
        ids = ids_of(self._array, [task.number for task in active], len(self._tasks))
        sentences = ". ".join(obstacles_of(active, self._array, len(self._tasks)))
        return NotEndedError(
            f"For {self._errand.patience_minutes:g} minutes, no job of {self._array} has been running or able to start."
            f" {sentences}. The jobs stay in Slurm. Run the same command again to collect results; to wait longer,"
            " raise launch.patience_minutes.",
            f"not finished: in Slurm as {ids}, {summary(active)}",
        )


def _written(folder: Path) -> float:
    """Return when a log was last written, on the clock of `time.monotonic`."""
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
    return time.monotonic() - (time.time() - max(times)) if times else 0.0
