"""Equal commands at the same time: each run is computed once, and the commands show the same result."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from support.locks import held
from support.runs import mam, once

from mam.config.compose import jobs
from mam.evaluation.workbench import Workbench
from mam.records.reading import read_result
from mam.runs.run import claims_of, is_being_computed

QUICK = ["data.limit=2", "evaluate.draws=100"]


def together(*commands: list[str]) -> list[tuple[int, str]]:
    """Start commands at the same time and return how each ended and what it printed."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "mam", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for words in commands
    ]
    return [(process.wait(), text) for process in started for text in [process.communicate()[0]]]


def hashes() -> Counter[str]:
    return Counter(read_result(path.parent).hash for path in Path("outputs").rglob("result.json"))


def test_two_equal_runs_are_one():
    (first, one), (second, two) = together(["run", *QUICK], ["run", *QUICK])
    assert (first, second) == (0, 0), one + two
    assert list(hashes().values()) == [1]
    texts = sorted([one, two], key=len)
    assert "waiting for it" in texts[1] and "skipped: finished already in outputs/" in texts[1]
    assert "waiting" not in texts[0] and "skipped" not in texts[0]


def test_two_equal_sweeps_share_the_work():
    sweep = ["run", "--multirun", "lam=0,0.05,0.1", "control=none", *QUICK]
    ended = together(sweep, sweep)
    assert [code for code, _ in ended] == [0, 0], ended
    assert list(hashes().values()) == [1, 1, 1]
    computed = [text.count(": finished\n") for _, text in ended]
    assert sum(computed) == 3 and min(computed) >= 1, ended


def test_a_sweep_takes_what_is_free_first():
    words = [*QUICK, "outputs=outputs"]
    (plan, bench) = jobs([*words, "lam=0.05"]).jobs, Workbench()
    outcome = once([*words, "lam=0.05"])  # to learn its hash
    with held(claims_of(plan[0].config), outcome.result.hash) as holder:
        assert is_being_computed(plan[0], bench)
        assert not is_being_computed(jobs([*words, "lam=0.1"]).jobs[0], bench)
        sweep = [sys.executable, "-m", "mam", "run", "--multirun", "lam=0.05,0.1,0.2", "control=none", *words]
        lines = []
        with subprocess.Popen(sweep, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                lines.append(line)
                if "waiting for it" in line:
                    holder.kill()
        assert process.returncode == 0
    order = [line.split("lam=")[1].split(":")[0] for line in lines if line.startswith("[")]
    assert order[-1] == "0.05" and sorted(order) == ["0", "0.05", "0.1", "0.2"]


def test_a_run_that_is_forced_does_not_wait():
    outcome = once(QUICK)
    with held(claims_of(jobs(QUICK).jobs[0].config), outcome.result.hash):
        forced = mam("run", *QUICK, "force=true")
    assert forced.returncode == 0 and list(hashes().values()) == [2]
