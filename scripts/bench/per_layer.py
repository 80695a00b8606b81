"""A λ for every layer by CMA-ES against one λ for all by racing, at equal evaluations of dev.

    python scripts/bench/per_layer.py

A race over 11 λ costs its share of a grid's work, so many evaluations of all of dev; CMA-ES gets as many, then four
times as many, each with five seeds. What either chose on dev is reported on test.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from pathlib import Path

from mam.config.compose import jobs
from mam.evaluation.workbench import Workbench
from mam.records.result import RunResult
from mam.runs.run import run

SEEDS = range(5)


def outcome(words: list[str], bench: Workbench) -> RunResult:
    """The result of one run."""
    return run(jobs(words).jobs[0], bench).result


def dev_rate(result: RunResult) -> float:
    """The rate on dev of what was chosen."""
    (chosen,) = result.tune.chosen
    return float(next(one.rate for one in result.tune.tried if one.value == chosen.value))


def spread(values: list[float]) -> str:
    """Mean and range, in per cent."""
    low, high = 100 * min(values), 100 * max(values)
    return f"{100 * statistics.mean(values):.2f} % [{low:.2f}, {high:.2f}]"


def compare(data: str) -> None:
    """Both searches on one data set."""
    bench, words = Workbench(), [f"data={data}"]
    races = [outcome([*words, "tune=race", f"seed={seed}"], bench) for seed in SEEDS]
    spent = math.ceil(statistics.mean(one.tune.work for one in races) * 11)
    base = outcome([*words, "lam=0", "evaluate.dev=true"], bench)
    print(f"demo_hubert_bert on {data}, {len(SEEDS)} seeds: mean [least, most]")
    print(f"  {'λ=0':<24} dev {100 * base.dev.rate:.2f} %{'':<17} test {100 * base.metrics.wer:.2f} %")
    rows = {f"race, {spent} evaluations": races}
    for times in (1, 4):
        asked = f"tune.evaluations={times * spent}"
        rows[f"cmaes, {times * spent} evaluations"] = [
            outcome([*words, "tune=cmaes", asked, f"seed={seed}"], bench) for seed in SEEDS
        ]
    for name, results in rows.items():
        dev, test = [dev_rate(one) for one in results], [one.metrics.wer for one in results]
        print(f"  {name:<24} dev {spread(dev):<24} test {spread(test)}")
    means = [statistics.mean(dev_rate(one) for one in results) for results in rows.values()]
    tests = [statistics.mean(one.metrics.wer for one in results) for results in rows.values()]
    print(f"  cmaes/race at equal evaluations: dev {means[1] / means[0]:.3f}, test {tests[1] / tests[0]:.3f}")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAM_CACHE"] = str(Path(folder) / "cache")
        os.chdir(folder)
        for data in ("demo_speech", "demo_speech_shift"):
            compare(data)


if __name__ == "__main__":
    main()
