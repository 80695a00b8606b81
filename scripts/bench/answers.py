"""Seconds until an answer, each command in a process of its own, on the bundled pair: the median of several.

    python scripts/bench/answers.py

What is finished already, what is refused without weights, another λ, the composition of a study, a report of many runs.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import timed

from mam.config.compose import jobs
from mam.config.studies import study_jobs

AT_ONCE = {
    "mam run, finished": ["run", "lam=0.1"],
    "a sweep of 5 runs, finished": ["run", "--multirun", "lam=0,0.05,0.1"],
    "a study of 10 runs, finished": ["run", "experiment=controls", "study.axes.lam=[0.1]", "data.limit=20"],
    "mam ls": ["ls"],
    "mam score": ["score", "RUN"],
    "mam compare": ["compare", "RUN", "RUN"],
    "refused: no such folder of data": ["run", "data=audiofolder", "data.root=nowhere"],
    "refused: no such model": ["run", "model.target=./nowhere"],
    "refused: a shape from the header": ["run", "model.target_shape.width=99"],
    "refused: no such run": ["score", "nowhere"],
    "refused: no such report": ["report", "nowhere"],
    "refused: a hub that is offline": ["run", "data=hub", "data.hub.id=owner/name"],
}
REPORTS = (1_600, 10_000)


def seconds_of(words: Sequence[str], times: int = 5) -> float:
    """Median wall time of ``mam`` with these words."""

    def call() -> None:
        subprocess.run([sys.executable, "-m", "mam", *words], capture_output=True, check=False)

    return statistics.median(timed(call) for _ in range(times))


def main() -> None:
    """Measure and print."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    with tempfile.TemporaryDirectory() as name:
        os.environ["MAM_CACHE"] = f"{name}/cache"
        os.chdir(name)
        for words in AT_ONCE.values():
            if words[0] == "run":
                subprocess.run([sys.executable, "-m", "mam", *words], capture_output=True, check=False)
        run = str(next(Path("outputs").rglob("result.json")).parent)
        for what, words in AT_ONCE.items():
            print(f"{what}: {seconds_of([run if word == 'RUN' else word for word in words]):.2f} s (aim 1.0)")
        values = iter(range(100))
        another = statistics.median(seconds_of(["run", f"lam=0.3{next(values):02}"], 1) for _ in range(5))
        print(f"mam run with another λ, what does not depend on it in the cache: {another:.1f} s (aim 4)")
        model = [sys.executable, "-c", "from transformers import HubertForCTC"]
        imported = statistics.median(timed(lambda: subprocess.run(model, check=True)) for _ in range(5))
        print(f"  of these, importing the model's class from transformers: {imported:.1f} s")
        first = time_to_first_line(["run", "lam=0.1"])
        print(f"the first line of mam run in a pipe: {first:.2f} s (aim 0.5)")
        study = jobs(["experiment=lambda_grid"]).jobs[0]
        count = len(study_jobs(study))
        print(f"composing a study of {count}: {timed(lambda: study_jobs(study)):.2f} s (aim 0.5)")
        for count, aim in zip(REPORTS, (3, 20), strict=True):
            fill(Path(run), Path(f"many{count}"), count)
            new = seconds_of(["report", f"many{count}"], 1)
            print(f"mam report, {count:,} runs: {seconds_of(['report', f'many{count}'], 3):.1f} s (aim {aim});")
            print(f"  without the index {new:.1f} s")
            shutil.rmtree(f"many{count}")


def time_to_first_line(words: Sequence[str]) -> float:
    """Median seconds until a command prints anything."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "mam", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            times.append(time.perf_counter() - start)
            process.stdout.read()
    return statistics.median(times)


def fill(run: Path, folder: Path, count: int) -> None:
    """Make a folder of so many runs, each with a hash of its own."""
    text = (run / "result.json").read_text()
    shown = text.split('"hash": "')[1].split('"')[0]
    for i in range(count):
        place = folder / "2030-01-01" / f"00-00-00-{i:08x}"
        shutil.copytree(run, place, copy_function=os.link)
        (place / "result.json").unlink()
        (place / "result.json").write_text(text.replace(shown, f"{i:064x}"))


if __name__ == "__main__":
    main()
