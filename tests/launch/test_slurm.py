"""On a real Slurm (`make test-slurm`): an array that ends, jobs requeued or killed, a controller that stops."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.audio import write_folder
from support.runs import once, pair_words

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        not os.environ.get("SLURM_CONF") or shutil.which("sbatch") is None, reason="no Slurm (make test-slurm)"
    ),
]
SLURM = [
    "hydra/launcher=slurm",
    *(f"hydra.launcher.{key}" for key in ("gpus_per_node=null", "mem_gb=2", "cpus_per_task=1", "timeout_min=10")),
]
SWEEP = ["--multirun", *SLURM, "control=none", "evaluate.draws=200"]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mam", "run", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def end(process: subprocess.Popen[str], seconds: float = 150) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def wait_for(pattern: str, seconds: float = 60) -> Path:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = sorted(Path().glob(pattern))
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"nothing like {pattern}")


def array() -> str:
    (log,) = Path().glob("outputs/*/*-multirun/logs/*_submission.sh")
    return log.name.partition("_")[0]


def test_an_array_finishes_and_is_not_run_again(words):
    sweep = [*words, *SWEEP, "lam=0,0.3,0.6", "launch.jobs_per_task=2"]
    code, out, err = end(start(*sweep))
    assert (code, err) == (0, ""), err  # nothing of sacct either
    assert "2 jobs; their logs are in" in out and "3 runs: 3 finished now, 0 skipped, 0 failed" in out
    assert len(list(Path("outputs").glob("*/*-multirun/*/result.json"))) == 3
    assert len(list(Path("outputs").glob("*/*-multirun/logs/*_result.pkl"))) == 2
    code, out, _ = end(start(*sweep))
    assert code == 0 and "3 runs: 0 finished now, 3 skipped, 0 failed" in out and "queued" not in out
    local = once([*words, "lam=0.6", "outputs=local", "evaluate.draws=200", "cache_dir=fresh"])
    (there,) = [
        p.parent for p in Path("outputs").rglob("result.json") if json.loads(p.read_text())["merge"]["lam"][0] > 0.5
    ]
    assert (there / "predictions.jsonl").read_bytes() == (local.folder / "predictions.jsonl").read_bytes()


def test_a_training_that_is_requeued_goes_on_and_ends_with_the_same_bytes(hubert_group, bert, tmp_path):
    data = write_folder(
        tmp_path / "data", [0.6, 1.3, 0.9, 1.3, 0.8, 1.0], split=["train"] * 2 + ["dev"] * 2 + ["test"] * 2
    )
    lesson = [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={data}", "lam=0.2", "train=lmam"]
    lesson += ["train.steps=60", "train.evaluate_every=2", "train.log_every=1", "train.batch_size=2", "threads=1"]
    process = start(*lesson, *SWEEP, "data.split=test")
    wait_for("outputs/unfinished/*/all/checkpoint-4/seal.json")
    subprocess.run(["scontrol", "requeue", array()], check=True)
    code, out, err = end(process)
    assert code == 0, out + err
    logs = [path.name for path in Path().glob("outputs/*/*-multirun/logs/*_log.out")]
    assert logs, "the log of the second start"
    (result,) = Path("outputs").glob("*/*-multirun/*/result.json")
    undisturbed = once([*lesson, "outputs=local", "control=none", "evaluate.draws=200"])
    assert (result.parent / "predictions.jsonl").read_bytes() == (undisturbed.folder / "predictions.jsonl").read_bytes()
    assert json.loads(result.read_text())["merge"]["lam"] == undisturbed.result.merge.lam


def test_a_killed_job_is_named_with_its_log_and_the_rest_goes_on(words, tmp_path):
    """The kill comes from inside: the process ends itself before the second of three jobs, without a word."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('_submit' in word for word in sys.orig_argv) and not os.path.exists('spared'):\n"
        "    from mam.launch import work\n"
        "    call = work.JobBatch.__call__\n"
        "    def killed(self):\n"
        "        if any('lam=0.3' in job for job in self.jobs):\n"
        "            os.kill(os.getpid(), 9)\n"
        "        call(self)\n"
        "    work.JobBatch.__call__ = killed\n"
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    try:
        code, out, err = end(start(*words, *SWEEP, "lam=0,0.3,0.6"))
    finally:
        os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].partition(os.pathsep)[2]
    assert code == 1 and "3 runs: 2 finished now, 0 skipped, 1 failed" in out
    assert re.search(r"lam=0.3.*ended without a word", err) and "log: outputs/" in err
    code, out, _ = end(start(*words, *SWEEP, "lam=0,0.3,0.6"))
    assert code == 0 and "3 runs: 1 finished now, 2 skipped, 0 failed" in out


def test_a_controller_that_stops_does_not_stop_the_jobs(words):
    home = Path(os.environ["SLURM_CONF"]).parent
    process = start(*words, *SWEEP, "lam=0,0.3")
    wait_for("outputs/*/*-multirun/ended/*.json")
    os.kill(int((home / "slurmctld.pid").read_text()), signal.SIGTERM)
    try:
        while subprocess.run(["squeue"], capture_output=True, timeout=60).returncode == 0:
            time.sleep(0.1)
        code, out, err = end(process)
    finally:
        subprocess.run(["slurmctld"], check=True)
    assert code == 0, out + err
    assert "2 runs: 2 finished now, 0 skipped, 0 failed" in out


def test_jobs_are_left_in_the_queue_and_collected_by_the_same_command(words):
    sweep = [*words, *SWEEP, "lam=0,0.3,0.6"]
    code, out, err = end(start(*sweep, "launch.wait=false"))
    assert code == 0 and "3 jobs have not ended" in err and f"(squeue -j {array()})" in err
    (note,) = Path().glob("outputs/queued/*.json")
    assert json.loads(note.read_text())["queue_id"] == array()
    code, out, err = end(start(*sweep, "launch.wait=false"))  # while they run, or when they have ended
    assert code == 0 and (f"in Slurm already as {array()}, 3 jobs" in out or "3 skipped" in out)
    code, out, err = end(start(*sweep))
    assert code == 0 and "3 runs: " in out and "0 failed" in out, out + err
    assert len(list(Path("outputs").glob("*/*-multirun/logs/*_submission.sh"))) == 1, "submitted once"
    assert not note.exists() and len(list(Path("outputs").rglob("result.json"))) == 3


def test_what_slurm_does_not_take_is_said(words):
    code, _, err = end(start(*words, *SWEEP, "lam=0,0.3", "hydra.launcher.partition=nowhere"))
    assert code == 2 and "hydra.launcher.partition=nowhere: Slurm has no such partition. There is: main" in err
    code, _, err = end(start(*words, *SWEEP, "lam=0,0.3", "hydra.launcher.mem_gb=900000"))
    assert code == 2 and "Slurm does not take the jobs" in err
