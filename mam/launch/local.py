"""``hydra/launcher=joblib``: several processes on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool

from mam.compose import Job
from mam.launch.work import Task

LOOK = 0.5  # seconds between looks at what has ended


def send_to_processes(
    tasks: Sequence[Task],
    settings: dict[str, Any],
    folder: Path,
    left: Callable[[], list[Job]],
    patience: float,
    say: Callable[[str], None],
) -> None:
    """Run the tasks in ``n_jobs`` processes of joblib, and return when they have ended; a killed process is said."""
    failed: list[Exception] = []

    def work() -> None:
        try:
            Parallel(n_jobs=settings["n_jobs"])(delayed(task)() for task in tasks)
        except (BrokenProcessPool, RuntimeError) as error:  # a process was killed; what it did not note is lost
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK)
        left()
    if failed and left():
        say(f"a process was killed; the same command runs what is missing ({type(failed[0]).__name__})")
