"""How a sweep grows: 1, 2 and 4 times the audio, 4 and 8 λ, on the demo pair; time = a·audio + b·(λ values × audio)
plus what a run costs whatever its length (scores, 10,000 draws of the test, its folder).

python scripts/bench/growth.py
"""

from __future__ import annotations

import csv
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from common import timed

from mam.config.compose import jobs
from mam.data.corpus import open_corpus
from mam.evaluation.workbench import Workbench
from mam.studies.execute import execute, study_folder


def many(root: Path, times: int) -> Path:
    """The demo's test clips, so many times over, under names of their own."""
    corpus = open_corpus(jobs([]).jobs[0].config.data)
    root.mkdir()
    with (root / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "transcription"])
        for i, example in enumerate(corpus.examples):
            for copy in range(times):
                name = f"{i:03}-{copy}.flac"
                shutil.copyfile(corpus.root / example["audio"], root / name)
                table.writerow([name, example["text"]])
    return root


def sweep(root: Path, lams: int) -> None:
    """A sweep with nothing to find finished."""
    fresh = tempfile.mkdtemp(dir=root.parent)
    values = ",".join(f"{i / 100:g}" for i in range(lams))
    words = ["data=audiofolder", f"data.root={root}", "data.split=all", "control=none", f"lam={values}"]
    plan = jobs([*words, f"outputs={fresh}/out", f"cache_dir={fresh}/cache"], multirun=True).jobs
    ended = execute(plan, Workbench(), study_folder(plan, "multirun"))
    assert all(end.error is None for end in ended)


def main() -> None:
    """Measure and print."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        roots = {times: many(Path(name) / f"audio{times}", times) for times in (1, 2, 4)}
        sweep(roots[1], 2)  # warms up
        rows = []
        for times, lams in ((1, 4), (2, 4), (4, 4), (1, 8), (2, 8), (4, 8)):
            rows.append(
                (times, lams, statistics.median(timed(lambda t=times, n=lams: sweep(roots[t], n)) for _ in range(2)))
            )
    audio = 212.0  # seconds of the demo's test clips
    design = np.array([[times * audio, times * audio * lams, lams] for times, lams, _ in rows])
    seconds = np.array([row[2] for row in rows])
    (a, b, c), *_ = np.linalg.lstsq(design, seconds, rcond=None)
    fitted = design @ [a, b, c]
    print("growth of a sweep, demo pair: audio × λ values: measured, fitted seconds")
    for (times, lams, measured), fit in zip(rows, fitted, strict=True):
        print(f"  {times} × {lams}: {measured:.2f}, {fit:.2f}")
    error = float(np.abs(fitted / seconds - 1).max())
    print(
        f"  time = {a:.5f}·audio + {b:.5f}·(λ values × audio) + {c:.2f}·λ values; largest deviation {100 * error:.0f} %"
    )


if __name__ == "__main__":
    main()
