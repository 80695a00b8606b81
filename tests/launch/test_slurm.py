"""On a real Slurm (`make test-slurm`): an array that ends, jobs that are killed or left, a controller that stops."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.runs import once, problems_in
from support.slurm import (
    HOME,
    SWEEP,
    end,
    marks,
    wait_for,
)

pytestmark = [*marks, pytest.mark.usefixtures("whole_cluster")]


def test_an_array_finishes_and_is_not_run_again(words, run):
    sweep = [*words, *SWEEP, "lam=0,0.3,0.6", "launch.jobs_per_task=2"]
    code, out, err = run(*sweep)
    assert code == 0 and not problems_in(err), err  # nothing of sacct either
    assert "2 jobs; logs are in" in out and "3 runs: 3 finished now, 0 skipped, 0 failed" in out
    assert len(list(Path("outputs").glob("*/*-multirun/*/result.json"))) == 3
    assert len(list(Path("outputs").glob("*/*-multirun/logs/*_result.pkl"))) == 2
    code, out, _ = run(*sweep)
    assert code == 0 and "3 runs: 0 finished now, 3 skipped, 0 failed" in out and "queued" not in out
    local = once([*words, "lam=0.6", "outputs=local", "evaluate.draws=200", "cache_dir=fresh"])
    (there,) = [
        p.parent for p in Path("outputs").rglob("result.json") if json.loads(p.read_text())["merge"]["lam"][0] > 0.5
    ]
    assert (there / "predictions.jsonl").read_bytes() == (local.folder / "predictions.jsonl").read_bytes()


def test_a_killed_job_is_named_with_its_log_and_the_rest_goes_on(words, run, in_jobs):
    """The kill comes from inside: the process ends itself before the second of three jobs, without a word."""
    in_jobs("if any('lam=0.3' in job for job in self.jobs): os.kill(os.getpid(), 9)")
    code, out, err = run(*words, *SWEEP, "lam=0,0.3,0.6")
    assert code == 1 and "3 runs: 2 finished now, 0 skipped, 1 failed" in out
    assert re.search(r"lam=0.3.*ended without a message", err) and "log: outputs/" in err
    Path("spared").touch()
    code, out, _ = run(*words, *SWEEP, "lam=0,0.3,0.6")
    assert code == 0 and "3 runs: 1 finished now, 2 skipped, 0 failed" in out


def test_a_controller_that_stops_does_not_stop_the_jobs(words, start):
    process = start(*words, *SWEEP, "lam=0,0.3")
    wait_for("outputs/*/*-multirun/ended/*.json")
    os.kill(int((HOME / "slurmctld.pid").read_text()), signal.SIGTERM)
    try:
        while subprocess.run(["squeue"], capture_output=True, timeout=60).returncode == 0:
            time.sleep(0.1)
        code, out, err = end(process)
    finally:
        subprocess.run(["slurmctld"], check=True)
    assert code == 0, out + err
    assert "2 runs: 2 finished now, 0 skipped, 0 failed" in out


def test_what_slurm_does_not_take_is_said(words, run):
    code, _, err = run(*words, *SWEEP, "lam=0,0.3", "hydra.launcher.partition=nowhere")
    assert code == 2 and "hydra.launcher.partition=nowhere: Slurm has no such partition. Choose one of: main" in err
    code, _, err = run(*words, *SWEEP, "lam=0,0.3", "hydra.launcher.mem_gb=900000")
    assert code == 2 and "hydra/launcher=slurm: Slurm rejected the jobs:" in err
