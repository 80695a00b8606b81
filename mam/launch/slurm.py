"""``hydra/launcher=slurm``: an array of jobs through submitit, but with mam's own waiting.

submitit asks Slurm's accounting how a job ended. Not every cluster has it, and without an answer submitit waits for
ever. Here the notes of the jobs show which have ended, `squeue` shows which are still expected, why they wait and which
Slurm ended, and the wait is bounded if neither gives an answer or nothing can start.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from mam.errors import ConfigError, StillQueuedError, choices, first_line
from mam.launch.queue import FORMAT, QueuedTask, obstacles_of, read_queue, summary
from mam.launch.watch import LOGS, Watch
from mam.launch.work import LaunchRequest, Submission
from mam.scoring.wording import counted

LOOK = 1.0  # seconds between checks of notes and queue
ANSWER = 60.0  # seconds that a Slurm command may take
SUBMITITS_OWN = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name")


def send_to_slurm(errand: LaunchRequest) -> None:
    """Queue the tasks as one array and wait until each has ended or is lost.

    Raises:
        ConfigError: Slurm refuses the settings.
        NotEndedError: For ``patience_minutes`` neither Slurm nor a job responded, or all that is left is held back.
    """
    submission = _submitted(errand)
    array = submission.queue_id
    if not errand.waits:
        _leave(errand, submission)
    watch, unreadable = Watch(errand, submission), ""
    try:
        while errand.left():
            try:
                tasks = _queued(submission)
            except ValueError as error:
                tasks = None
                if not unreadable:
                    unreadable = str(error)
                    errand.say(
                        f"squeue -j {array}: the answer has {unreadable}, which mam cannot read; it will ask again"
                    )
            if not watch.look(tasks):
                break
            time.sleep(LOOK)
    except KeyboardInterrupt:
        errand.say(
            f"the jobs continue in Slurm. To cancel them: `scancel {array}`. Run the same command again to collect"
            " their results"
        )
        raise
    errand.submission.forget()


def _submitted(errand: LaunchRequest) -> Submission:
    """Return the array that an earlier equal command submitted, or submit one."""
    submission, logs = errand.submission, errand.folder / LOGS
    if submission.queue_id is not None:
        known = f"{submission.queue_id}, {counted(len(submission.tasks), 'job')}"
        errand.say(f"already in Slurm as {known}; logs are in {logs}")
        return submission
    jobs = _submit(errand)
    array = str(jobs[0].job_id.partition("_")[0])
    errand.say(f"submitted to Slurm as {array}, {counted(len(jobs), 'job')}; logs are in {logs}")
    return submission.keep(array, errand.tasks)


def _leave(errand: LaunchRequest, submission: Submission) -> None:
    """Raise StillQueuedError while jobs are expected in the queue; return when there is nothing to wait for."""
    missing, array = errand.left(), submission.queue_id
    try:
        tasks, state = _queued(submission), "Slurm does not answer"
    except ValueError as error:
        tasks, state = None, f"Slurm's answer has {error}, which mam cannot read"
    active = None if tasks is None else [task for task in tasks if not task.has_ended]
    if missing and active != []:
        obstacles = obstacles_of(active or [], str(array), len(submission.tasks))
        raise StillQueuedError(
            f"{counted(len(missing), 'job')} not finished: {summary(active) if active else state} (squeue -j {array})."
            f" {''.join(f'{sentence}. ' for sentence in obstacles)}Run the same command again later to collect results."
            f" To cancel: `scancel {array}`."
        )


def _submit(errand: LaunchRequest) -> list[submitit.Job[Any]]:
    settings, folder = errand.settings, errand.folder
    partition = settings.get("partition")
    partitions = _partitions()
    if partition is not None and partitions and not set(partition.split(",")) <= set(partitions):
        raise ConfigError(
            f"hydra.launcher.partition={partition}: Slurm has no such partition. Choose one of: {choices(partitions)}"
        )
    keys = {key: value for key, value in settings.items() if value is not None}
    timeouts = keys.pop("max_num_timeout", 0)
    try:
        executor = submitit.AutoExecutor(
            folder=folder.absolute() / LOGS, cluster="slurm", slurm_max_num_timeout=timeouts
        )
        executor.update_parameters(
            **{
                key if key in SUBMITITS_OWN or key == "stderr_to_stdout" else f"slurm_{key}": value
                for key, value in keys.items()
            }
        )
        with executor.batch():
            return [executor.submit(task) for task in errand.tasks]
    except (
        FailedJobError,
        FailedSubmissionError,
        subprocess.SubprocessError,
        ValueError,
        NameError,
        TypeError,
    ) as error:
        raise ConfigError(f"hydra/launcher=slurm: Slurm rejected the jobs: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if "error:" in line]
    return lines[-1].partition("error:")[2].strip() if lines else first_line(error)


def _partitions() -> list[str]:
    answer = _ask("sinfo", "--all", "--noheader", "--format=%R")
    return [] if answer is None else sorted(set(answer.split()))


def _queued(submission: Submission) -> list[QueuedTask] | None:
    """Return the tasks in the queue, those that ended lately too; None if Slurm does not answer.

    Raises:
        ValueError: The answer cannot be read.
    """
    array = str(submission.queue_id)
    answer = _ask("squeue", "--noheader", "--array", "--states=all", f"--format={FORMAT}", f"--jobs={array}")
    return None if answer is None else read_queue(answer, array, len(submission.tasks))


def _ask(command: str, *words: str) -> str | None:
    """Return the output of a Slurm command; "" if the job is unknown, None if there is no answer."""
    path = shutil.which(command)
    if path is None:
        return None
    try:
        answer = subprocess.run([path, *words], capture_output=True, encoding="utf-8", errors="replace", timeout=ANSWER)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode == 0:
        return answer.stdout
    return "" if "Invalid job id" in answer.stderr else None
