"""Equal commands at the same time: each run is computed once, and the commands show the same result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.locks import held
from support.runs import mam, once
from support.warm import start

from mam.config.compose import jobs
from mam.evaluation.workbench import Workbench
from mam.locks import BusyError
from mam.records.reading import read_result
from mam.runs.question import claims_of
from mam.runs.run import run

QUICK = ["data.limit=2", "evaluate.draws=100"]


def together(*commands: list[str]) -> list[tuple[int, str]]:
    """Start commands at the same time and return how each ended and what it printed."""
    ended = [started.wait() for started in [start(words) for words in commands]]
    return [(process.returncode, process.stdout + process.stderr) for process in ended]


def hashes() -> Counter[str]:
    return Counter(read_result(path.parent).hash for path in Path("outputs").rglob("result.json"))


def test_two_equal_runs_are_one():
    (first, one), (second, two) = together(["run", *QUICK], ["run", *QUICK])
    assert (first, second) == (0, 0), one + two
    assert list(hashes().values()) == [1]
    texts = sorted([one, two], key=len)
    assert (
        "waiting for another process" in texts[1] and "skipped: this run has finished already, in outputs/" in texts[1]
    )
    assert "waiting" not in texts[0] and "skipped" not in texts[0]


def test_two_equal_sweeps_share_the_work():
    sweep = ["run", "--multirun", "lam=0,0.05,0.1,0.15,0.2,0.25", "control=none", *QUICK]
    ended = together(sweep, sweep)
    assert [code for code, _ in ended] == [0, 0], ended
    assert list(hashes().values()) == [1] * 6
    computed = [text.count(": finished\n") for _, text in ended]
    assert sum(computed) == 6 and min(computed) >= 1, ended


def test_a_sweep_takes_what_is_free_first():
    words = [*QUICK, "outputs=outputs"]
    (plan, bench) = jobs([*words, "lam=0.05"]).jobs, Workbench()
    outcome = once([*words, "lam=0.05"])  # to learn its hash
    with held(claims_of(plan[0].config), outcome.result.hash) as holder:
        with pytest.raises(BusyError):
            run(plan[0], bench, waits=False)
        sweep = start(["run", "--multirun", "lam=0.05,0.1,0.2", "control=none", *words])
        sweep.wait_for("waiting for another process")
        holder.kill()
        ended = sweep.wait()
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    order = [line.split("lam=")[1].split(":")[0] for line in lines if line.startswith("[")]
    assert order[-1] == "0.05" and sorted(order) == ["0", "0.05", "0.1", "0.2"]


def test_a_run_that_is_forced_does_not_wait():
    outcome = once(QUICK)
    with held(claims_of(jobs(QUICK).jobs[0].config), outcome.result.hash):
        forced = mam("run", *QUICK, "force=true")
    assert forced.returncode == 0 and list(hashes().values()) == [2]
