"""``hydra/launcher=joblib``: several processes on this machine."""

from __future__ import annotations

import threading

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool

from mam.launch.work import Errand

LOOK = 0.5  # seconds between looks at what has ended


def send_to_processes(errand: Errand) -> None:
    """Run the tasks in ``n_jobs`` processes of joblib, and return when they have ended; a killed process is said."""
    failed: list[Exception] = []

    def work() -> None:
        try:
            Parallel(n_jobs=errand.settings["n_jobs"])(delayed(task)() for task in errand.tasks)
        except (BrokenProcessPool, RuntimeError) as error:  # a process was killed; what it did not note is lost
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK)
        errand.left()
    if failed and errand.left():
        errand.say(f"a process was killed; the same command runs what is missing ({type(failed[0]).__name__})")
