"""On a real Slurm of three nodes (`make test-slurm`): nodes that die, come back broken or are drained; held jobs."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from support.audio import write_folder
from support.runs import once, pair_words
from support.slurm import (
    SWEEP,
    array,
    end,
    marks,
    node_of,
    queued,
    said,
    script,
    slurm,
    state,
    until,
)

from mam.files import sha256_file

pytestmark = [*marks, pytest.mark.usefixtures("whole_cluster")]


SLOW_STEPS = """\
from mam.training.learner import Learner
forward = Learner.forward
Learner.forward = lambda *inputs, **named: (time.sleep(0.1), forward(*inputs, **named))[1]
"""
HELD = "launch failed requeued held"


def test_a_training_that_is_requeued_and_then_loses_its_node_ends_with_the_same_bytes(
    hubert_group, bert, tmp_path, start, in_jobs
):
    """Requeued by hand, then its node dies: each time it goes on from its last checkpoint, here or elsewhere."""
    in_jobs(SLOW_STEPS)
    data = write_folder(
        tmp_path / "data", [0.6, 1.3, 0.9, 1.3, 0.8, 1.0], split=["train"] * 2 + ["dev"] * 2 + ["test"] * 2
    )
    lesson = [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={data}", "lam=0.2", "train=lmam"]
    lesson += ["train.steps=80", "train.evaluate_every=4", "train.log_every=1", "train.batch_size=2", "threads=1"]
    lesson += ["train.save_model=true"]
    process = start(*lesson, *SWEEP, "data.split=test")
    checkpoints = "outputs/unfinished/*/all/checkpoint-*/seal.json"

    def step() -> int:
        """The newest complete checkpoint."""
        return max((int(seal.parent.name.partition("-")[2]) for seal in Path().glob(checkpoints)), default=0)

    until(lambda: step() >= 4, "a checkpoint")
    slurm("scontrol", "requeue", array())
    until(lambda: queued(array()).startswith("PENDING"), "the job is requeued")
    first = step()
    until(lambda: step() >= first + 4, "a checkpoint of the second start")
    before = node_of(array())
    script("kill", before)
    second = step()
    assert first < second < 80, "killed in the middle"
    (killed,) = Path("outputs").glob("*/*-multirun/*/mam.log")
    assert f"the training continues from step {first} (" in killed.read_text()
    code, out, err = end(process)
    assert code == 0, out + err
    assert node_of(array()) != before, "the node is gone"

    (result,) = Path("outputs").glob("*/*-multirun/*/result.json")
    (log,) = Path("outputs").glob("*/*-multirun/*/mam.log")  # the folders of killed processes are removed
    assert f"the training continues from step {second} (" in log.read_text(), log.read_text()
    assert log.parent == result.parent
    assert sorted(path.name for path in Path("outputs").iterdir()) == [result.parents[2].name, "queued"]
    assert not any(Path("outputs/queued").iterdir()) and not any(Path("outputs").rglob("*.running*"))
    undisturbed = once([*lesson, "outputs=local", "control=none", "evaluate.draws=200"])
    for name in ("predictions.jsonl", "lambda.csv", "metrics.jsonl"):
        assert (result.parent / name).read_bytes() == (undisturbed.folder / name).read_bytes(), name
    weights = [next(folder.glob("model/*.safetensors")) for folder in (result.parent, undisturbed.folder)]
    assert sha256_file(weights[0]) == sha256_file(weights[1])
    there, here = (json.loads((path / "result.json").read_text()) for path in (result.parent, undisturbed.folder))
    assert there["metrics"] == here["metrics"] and there["merge"]["lam"] == here["merge"]["lam"]


def test_a_held_job_is_said_with_the_remedy_and_goes_on_when_it_is_released(words, start):
    """The node that is left comes back broken: it cannot launch the job, which Slurm then holds."""
    slurm("scontrol", "update", "nodename=n[1,3]", "state=drain", "reason=test")
    script("kill", "2")
    script("up", "2", "dirty")
    until(lambda: state("2") == "idle", "the node is back")
    process = start(*words, *SWEEP, "lam=0,0.3", "launch.jobs_per_task=2")
    until(lambda: any(Path().glob("outputs/queued/*.json")), "queued")
    job = array()
    until(lambda: HELD in queued(job), HELD)
    line = said(HELD, seconds=60)
    assert f"1 job, PENDING ({HELD}). Release: `scontrol release {job}`. To cancel: `scancel {job}`" in line
    assert process.poll() is None
    script("kill", "2")
    script("up", "2")
    slurm("scontrol", "update", "nodename=n[1-3]", "state=resume")
    slurm("scontrol", "release", job)
    code, out, err = end(process)
    assert code == 0 and "2 runs: 2 finished now, 0 skipped, 0 failed" in out, out + err
    assert out.count(HELD) == 1


def test_cancelled_jobs_are_called_cancelled_at_once_and_the_others_finish(words, start, in_jobs):
    """One that runs and one that waits, of which Slurm keeps no trace."""
    in_jobs("if any('lam=0' in job for job in self.jobs): time.sleep(600)")  # it must not finish before the cancel
    process = start(*words, *SWEEP, "lam=0,0.3,0.6", "hydra.launcher.array_parallelism=1")
    until(lambda: any(Path().glob("outputs/queued/*.json")), "queued")
    job = array()
    until(lambda: queued(f"{job}_0").startswith("RUNNING"), "the first runs")
    slurm("scancel", f"{job}_2")
    waiting = time.monotonic()
    line = said("lam=0.6: cancelled in Slurm", seconds=30)
    assert line.startswith("[1/3] ") and time.monotonic() - waiting < 30
    slurm("scancel", f"{job}_0")
    said("lam=0: cancelled in Slurm", seconds=60)  # Slurm says COMPLETING until the processes have ended
    code, out, err = end(process)
    assert code == 1 and "3 runs: 1 finished now, 0 skipped, 2 failed" in out, out + err
    assert re.search(r"lam=0; .*lam=0\.6: cancelled in Slurm", err) and "without a message" not in err


def test_drained_nodes_are_passed_over_and_said_if_none_is_left(words, start):
    slurm("scontrol", "update", "nodename=n[1-3]", "state=drain", "reason=test")
    process = start(*words, *SWEEP, "lam=0,0.3")
    line = said("Blocked in Slurm, cannot start by itself: 2 jobs, PENDING (")
    assert re.search(
        r"PENDING \((ReqNodeNotAvail, UnavailableNodes:n\[1-3\]|Nodes required for job are .*)\)\. See", line
    )
    assert "See `sinfo -R`" in line and f"To cancel: `scancel '{array()}_[0-1]'`" in line
    slurm("scontrol", "update", "nodename=n[2-3]", "state=resume")
    code, out, err = end(process)
    assert code == 0 and "2 runs: 2 finished now, 0 skipped, 0 failed" in out, out + err
    assert state("1") == "drained" and node_of(f"{array()}_0") in "23" and node_of(f"{array()}_1") in "23"


def test_jobs_are_left_in_the_queue_held_there_and_collected_by_the_same_command(words, run):
    sweep = [*words, *SWEEP, "lam=0,0.3,0.6"]
    slurm("scontrol", "update", "nodename=n[1-3]", "state=drain", "reason=test")
    code, _, err = run(*sweep, "launch.wait=false")
    job = array()
    assert code == 0 and "3 jobs not finished: 3 PENDING" in err and f"(squeue -j {job})." in err
    (note,) = Path().glob("outputs/queued/*.json")
    assert json.loads(note.read_text())["queue_id"] == job
    slurm("scontrol", "hold", job)
    slurm("scontrol", "update", "nodename=n[1-3]", "state=resume")
    code, out, err = run(*sweep, "launch.wait=false")
    assert code == 0 and f"already in Slurm as {job}, 3 jobs" in out
    assert f"3 PENDING (JobHeldAdmin) (squeue -j {job}). Blocked in Slurm, cannot start by itself: 3 jobs, " in err
    code, out, err = run(*sweep, "launch.patience_minutes=0.02")
    assert code == 1 and f"For 0.02 minutes, no job of {job} has been running or able to start. Blocked in Slurm" in err
    ids = f"'{job}_[0-2]'"
    assert f"`scontrol release {ids}`" in err and f"not finished: in Slurm as {ids}, 3 PENDING (JobHeldAdmin)" in err
    assert "without a message" not in err and note.exists()
    slurm("scontrol", "release", ids.strip("'"))
    code, out, err = run(*sweep)
    assert code == 0 and "3 runs: 3 finished now, 0 skipped, 0 failed" in out, out + err
    assert len(list(Path("outputs").glob("*/*-multirun/logs/*_submission.sh"))) == 1, "submitted once"
    assert not note.exists() and len(list(Path("outputs").rglob("result.json"))) == 3
