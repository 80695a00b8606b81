"""``hydra/launcher=joblib``: several processes on this machine."""

from __future__ import annotations

from joblib import Parallel, delayed

from mam.launch.work import LaunchRequest, run_reporting


def send_to_processes(errand: LaunchRequest) -> None:
    """Run the tasks in ``n_jobs`` processes of joblib, and return when they have ended.

    Killed processes are reported, and the tasks they interrupted are started again.
    """
    failed: list[Exception] = []

    def work() -> None:
        remaining = list(errand.tasks)
        while remaining:
            try:
                Parallel(n_jobs=errand.settings["n_jobs"])(delayed(task)() for task in remaining)
                return
            except Exception as error:  # a process was killed, or could not write its note
                failed.append(error)
            left = [task for task in remaining if not task.is_done]
            if len(left) == len(remaining):
                return
            remaining = left  # a killed process ends the whole pool, so the other tasks are started again

    run_reporting(work, errand)
    if failed and errand.left():
        errand.say(f"a process was killed ({type(failed[0]).__name__}). Run the same command again for what is missing")
