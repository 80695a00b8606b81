"""``hydra/launcher=slurm``: an array of jobs through submitit, but with mam's own waiting.

submitit asks Slurm's accounting how a job ended. Not every cluster has it, and without an answer submitit waits for
ever. Here the notes of the jobs show which have ended, `squeue` shows which are still expected, and the wait is bounded
if neither gives an answer.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from mam.errors import ConfigError, MamError, StillQueuedError, choices, first_line
from mam.launch.work import LaunchRequest

LOOK = 1.0  # seconds between checks of notes and queue
GONE = 10.0  # seconds that a note may take to appear on a shared disk after its job has left the queue
SUBMITITS_OWN = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name")
LOGS = "logs"


def send_to_slurm(errand: LaunchRequest) -> None:
    """Queue the tasks as one array and wait until each has ended or is lost.

    Raises:
        ConfigError: Slurm refuses the settings.
        MamError: neither Slurm nor a job responded for ``patience_minutes``. The jobs may still be running.
    """
    folder, array = errand.folder, _array(errand)
    if not errand.waits:
        _leave(errand, array)
    alive = seen = time.monotonic()
    waiting = len(errand.left())
    try:
        while missing := errand.left():
            if len(missing) < waiting:
                waiting, alive = len(missing), time.monotonic()
            queued = _queued(array)
            if queued is not None:
                alive = time.monotonic()
                seen = time.monotonic() if queued else seen
                if not queued and time.monotonic() - seen > GONE:
                    break
            elif time.monotonic() - max(alive, _written(folder / LOGS)) > 60 * errand.patience_minutes:
                raise MamError(
                    f"Slurm has not answered for {errand.patience_minutes:g} minutes, and no job has written anything."
                    f" Jobs of {array} may go on all the same: the same command finds what they finish."
                )
            time.sleep(LOOK)
    except KeyboardInterrupt:
        errand.say(f"the jobs go on in Slurm: `scancel {array}` ends them, the same command finds what they finish")
        raise
    errand.submission.forget()


def _array(errand: LaunchRequest) -> str:
    """Return the id of the array that an earlier equal command submitted, or submit one."""
    submission = errand.submission
    if submission.queue_id is not None:
        known = f"{submission.queue_id}, {submission.jobs} jobs"
        errand.say(f"in Slurm already as {known}; their logs are in {errand.folder / LOGS}")
        return submission.queue_id
    jobs = _submit(errand)
    array = str(jobs[0].job_id.partition("_")[0])
    submission.keep(array, len(jobs))
    errand.say(f"queued in Slurm as {array}, {len(jobs)} jobs; their logs are in {errand.folder / LOGS}")
    return array


def _leave(errand: LaunchRequest, array: str) -> None:
    """Raise StillQueuedError while jobs are expected in the queue; return when there is nothing to wait for."""
    missing, queued = errand.left(), _queued(array)
    if missing and queued != []:
        unknown = "Slurm does not answer" if queued is None else f"{len(queued)} are queued or run"
        raise StillQueuedError(
            f"{len(missing)} jobs have not ended, {unknown} (squeue -j {array}). The same command collects them later;"
            f" `scancel {array}` ends them."
        )


def _submit(errand: LaunchRequest) -> list[submitit.Job[Any]]:
    settings, folder = errand.settings, errand.folder
    partition = settings.get("partition")
    partitions = _partitions()
    if partition is not None and partitions and not set(partition.split(",")) <= set(partitions):
        raise ConfigError(
            f"hydra.launcher.partition={partition}: Slurm has no such partition. There is: {choices(partitions)}"
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
        raise ConfigError(f"hydra/launcher=slurm: Slurm does not take the jobs: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if "error:" in line]
    return lines[-1].partition("error:")[2].strip() if lines else first_line(error)


def _partitions() -> list[str]:
    answer = _ask("sinfo", "--all", "--noheader", "--format=%R")
    return [] if answer is None else sorted(set(answer.split()))


def _queued(array: str) -> list[str] | None:
    """Return the jobs of the array that are waiting, running or about to be requeued; None if Slurm does not answer."""
    answer = _ask("squeue", "--noheader", "--array", "--format=%i", f"--jobs={array}")
    return None if answer is None else answer.split()


def _ask(command: str, *words: str) -> str | None:
    """Return the output of a Slurm command; "" if the job is unknown, None if there is no answer."""
    path = shutil.which(command)
    if path is None:
        return None
    try:
        answer = subprocess.run([path, *words], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return None
    if answer.returncode == 0:
        return answer.stdout
    return "" if "Invalid job id" in answer.stderr else None


def _written(folder: Path) -> float:
    """Return when a log was last written, on the clock of `time.monotonic`."""
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
    return time.monotonic() - (time.time() - max(times)) if times else 0.0
