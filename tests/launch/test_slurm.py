"""On a real Slurm of three nodes (`make test-slurm`): an array that ends; jobs requeued, killed, cancelled or held;
nodes that die, come back broken or are drained; a controller that stops.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.audio import write_folder
from support.runs import once, pair_words

from mam.cli import main
from mam.files import sha256_file

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
HOME = Path(os.environ.get("SLURM_CONF", "/nowhere/slurm.conf")).parent
NODES = Path(__file__).parents[2] / "scripts" / "slurm_nodes.sh"
HELD = "launch failed requeued held"
SWEEP = ["--multirun", *SLURM, "control=none", "evaluate.draws=200"]


@pytest.fixture(autouse=True)
def whole_cluster() -> Iterator[None]:
    """Every test leaves three idle nodes and an empty queue."""
    yield
    slurm("scancel", "--user=root")
    if slurm("squeue", "--noheader"):  # such as a job that could not tell the controller that it ended
        slurm("scontrol", "update", "nodename=n[1-3]", "state=down", "reason=over")
    for node in "123":
        if not is_alive(node):
            script("kill", node)
            script("up", node)

    def is_idle() -> bool:
        states = [state(node) for node in "123"]
        for node, word in zip("123", states, strict=True):
            if word.startswith(("drain", "down")):  # refused while its daemon has not answered yet
                subprocess.run(["scontrol", "update", f"nodename=n{node}", "state=resume"], capture_output=True)
        return states == ["idle"] * 3 and slurm("squeue", "--noheader") == ""

    until(is_idle, "all is idle")


def is_alive(node: str) -> bool:
    try:
        os.kill(int((HOME / f"n{node}.pid").read_text()), 0)
    except (OSError, ValueError):
        return False
    return not (HOME / "spool" / f"n{node}.dirty").exists()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `mam run` in a process of its own, which ends with the test."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        with Path("out").open("w") as out, Path("err").open("w") as err:
            command = [sys.executable, "-m", "mam", "run", *words]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
            begun.append(subprocess.Popen(command, stdout=out, stderr=err, text=True, env=environment))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[str], seconds: float = 180) -> tuple[int, str, str]:
    code = process.wait(timeout=seconds)
    return code, Path("out").read_text(), Path("err").read_text()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`mam run` in this process, which has imported torch already: code, standard output and error."""

    def run_here(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mam", "run", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run_here


def until(holds: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Wait until something holds."""
    end_of_patience = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end_of_patience:
            said = "".join(Path(name).read_text() for name in ("out", "err") if Path(name).is_file())
            queue, nodes = slurm("squeue", "--states=all"), slurm("sinfo", "--Node", "--long")
            raise AssertionError(f"not within {seconds:g} s: {what}\n{said}\n{queue}\n{nodes}")
        time.sleep(0.05)


def wait_for(pattern: str) -> Path:
    until(lambda: any(Path().glob(pattern)), pattern)
    return min(Path().glob(pattern))


def said(text: str, seconds: float = 120) -> str:
    """Wait until the command has printed a text, and return the line with it."""
    until(lambda: text in Path("out").read_text(), text, seconds)
    return next(line for line in Path("out").read_text().splitlines() if text in line)


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def script(*words: str) -> None:
    # not captured: the daemon that it starts would hold the pipe
    subprocess.run([NODES, *words], check=True, timeout=60, stdout=subprocess.DEVNULL)


def state(node: str) -> str:
    return slurm("sinfo", "--noheader", "--Node", f"--nodes=n{node}", "--format=%T")


def node_of(job: str) -> str:
    """The number of the node on which a job runs or last ran."""
    return slurm("squeue", "--noheader", "--array", "--states=all", "--format=%N", f"--jobs={job}").removeprefix("n")


def queued(job: str) -> str:
    return slurm("squeue", "--noheader", "--array", "--states=all", "--format=%T %r", f"--jobs={job}")


def array() -> str:
    return wait_for("outputs/*/*-multirun/logs/*_submission.sh").name.partition("_")[0]


def test_an_array_finishes_and_is_not_run_again(words, run):
    sweep = [*words, *SWEEP, "lam=0,0.3,0.6", "launch.jobs_per_task=2"]
    code, out, err = run(*sweep)
    assert (code, err) == (0, ""), err  # nothing of sacct either
    assert "2 jobs; their logs are in" in out and "3 runs: 3 finished now, 0 skipped, 0 failed" in out
    assert len(list(Path("outputs").glob("*/*-multirun/*/result.json"))) == 3
    assert len(list(Path("outputs").glob("*/*-multirun/logs/*_result.pkl"))) == 2
    code, out, _ = run(*sweep)
    assert code == 0 and "3 runs: 0 finished now, 3 skipped, 0 failed" in out and "queued" not in out
    local = once([*words, "lam=0.6", "outputs=local", "evaluate.draws=200", "cache_dir=fresh"])
    (there,) = [
        p.parent for p in Path("outputs").rglob("result.json") if json.loads(p.read_text())["merge"]["lam"][0] > 0.5
    ]
    assert (there / "predictions.jsonl").read_bytes() == (local.folder / "predictions.jsonl").read_bytes()


def test_a_training_that_is_requeued_and_then_loses_its_node_ends_with_the_same_bytes(
    hubert_group, bert, tmp_path, start
):
    """Requeued by hand, then its node dies: each time it goes on from its last checkpoint, here or elsewhere."""
    data = write_folder(
        tmp_path / "data", [0.6, 1.3, 0.9, 1.3, 0.8, 1.0], split=["train"] * 2 + ["dev"] * 2 + ["test"] * 2
    )
    lesson = [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={data}", "lam=0.2", "train=lmam"]
    lesson += ["train.steps=120", "train.evaluate_every=4", "train.log_every=1", "train.batch_size=2", "threads=1"]
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
    assert first < second < 120, "killed in the middle"
    (killed,) = Path("outputs").glob("*/*-multirun/*/mam.log")
    assert f"the training goes on from step {first}, " in killed.read_text()
    code, out, err = end(process)
    assert code == 0, out + err
    assert node_of(array()) != before, "the node is gone"

    (result,) = Path("outputs").glob("*/*-multirun/*/result.json")
    (log,) = Path("outputs").glob("*/*-multirun/*/mam.log")  # the folders of killed processes are removed
    assert f"the training goes on from step {second}, " in log.read_text(), log.read_text()
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
    assert f"1 job, PENDING ({HELD}). Let go: `scontrol release {job}`. Give up: `scancel {job}`" in line
    assert process.poll() is None
    script("kill", "2")
    script("up", "2")
    slurm("scontrol", "update", "nodename=n[1-3]", "state=resume")
    slurm("scontrol", "release", job)
    code, out, err = end(process)
    assert code == 0 and "2 runs: 2 finished now, 0 skipped, 0 failed" in out, out + err
    assert out.count(HELD) == 1


def test_cancelled_jobs_are_called_cancelled_at_once_and_the_others_finish(words, start):
    """One that runs and one that waits, of which Slurm keeps no trace."""
    process = start(*words, *SWEEP, "lam=0,0.3,0.6", "hydra.launcher.array_parallelism=1")
    until(lambda: any(Path().glob("outputs/queued/*.json")), "queued")
    job = array()
    until(lambda: queued(f"{job}_0").startswith("RUNNING"), "the first runs")
    slurm("scancel", f"{job}_2")
    waiting = time.monotonic()
    line = said("lam=0.6: cancelled in Slurm", seconds=30)
    assert line.startswith("[1/3] ") and time.monotonic() - waiting < 30
    slurm("scancel", f"{job}_0")
    assert said("lam=0: cancelled in Slurm", seconds=30).startswith("[2/3] ")
    assert process.poll() is None
    code, out, err = end(process)
    assert code == 1 and "3 runs: 1 finished now, 0 skipped, 2 failed" in out, out + err
    assert re.search(r"lam=0; .*lam=0\.6: cancelled in Slurm", err) and "without a word" not in err


def test_drained_nodes_are_passed_over_and_said_if_none_is_left(words, start):
    slurm("scontrol", "update", "nodename=n[1-3]", "state=drain", "reason=test")
    process = start(*words, *SWEEP, "lam=0,0.3")
    line = said("Held back in Slurm, will not start unaided: 2 jobs, PENDING (")
    assert re.search(
        r"PENDING \((ReqNodeNotAvail, UnavailableNodes:n\[1-3\]|Nodes required for job are .*)\)\. See", line
    )
    assert "See `sinfo -R`" in line and f"Give up: `scancel '{array()}_[0-1]'`" in line
    slurm("scontrol", "update", "nodename=n[2-3]", "state=resume")
    code, out, err = end(process)
    assert code == 0 and "2 runs: 2 finished now, 0 skipped, 0 failed" in out, out + err
    assert state("1") == "drained" and node_of(f"{array()}_0") in "23" and node_of(f"{array()}_1") in "23"


def test_a_wait_for_held_jobs_ends_and_the_same_command_collects_them(words, run):
    sweep = [*words, *SWEEP, "lam=0,0.3", "launch.jobs_per_task=2"]
    slurm("scontrol", "update", "nodename=n[1-3]", "state=drain", "reason=test")
    code, _, err = run(*sweep, "launch.wait=false")
    job = array()
    assert code == 0 and "2 jobs have not ended, 1 PENDING" in err and f"(squeue -j {job})." in err
    slurm("scontrol", "hold", job)
    slurm("scontrol", "update", "nodename=n[1-3]", "state=resume")
    code, out, err = run(*sweep, "launch.wait=false")
    assert code == 0 and f"in Slurm already as {job}, 1 jobs" in out
    assert f"1 PENDING (JobHeldAdmin) (squeue -j {job}). Held back in Slurm, will not start unaided: 1 job, " in err
    code, out, err = run(*sweep, "launch.patience_minutes=0.02")
    assert code == 1 and f"Nothing of {job} runs or can start, for 0.02 minutes now. Held back in Slurm" in err
    assert f"`scontrol release {job}`" in err and f"has not ended: in Slurm as {job}, 1 PENDING (JobHeldAdmin)" in err
    assert "without a word" not in err
    slurm("scontrol", "release", job)
    code, out, err = run(*sweep)
    assert code == 0 and "2 runs: 2 finished now, 0 skipped, 0 failed" in out, out + err
    assert len(list(Path("outputs").glob("*/*-multirun/logs/*_submission.sh"))) == 1, "submitted once"


def test_a_killed_job_is_named_with_its_log_and_the_rest_goes_on(words, run, tmp_path):
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
        code, out, err = run(*words, *SWEEP, "lam=0,0.3,0.6")
    finally:
        os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].partition(os.pathsep)[2]
    assert code == 1 and "3 runs: 2 finished now, 0 skipped, 1 failed" in out
    assert re.search(r"lam=0.3.*ended without a word", err) and "log: outputs/" in err
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


def test_jobs_are_left_in_the_queue_and_collected_by_the_same_command(words, run):
    sweep = [*words, *SWEEP, "lam=0,0.3,0.6"]
    code, out, err = run(*sweep, "launch.wait=false")
    assert code == 0 and "3 jobs have not ended" in err and f"(squeue -j {array()})" in err
    (note,) = Path().glob("outputs/queued/*.json")
    assert json.loads(note.read_text())["queue_id"] == array()
    code, out, err = run(*sweep, "launch.wait=false")  # while they run, or when they have ended
    assert code == 0 and (f"in Slurm already as {array()}, 3 jobs" in out or "3 skipped" in out)
    code, out, err = run(*sweep)
    assert code == 0 and "3 runs: " in out and "0 failed" in out, out + err
    assert len(list(Path("outputs").glob("*/*-multirun/logs/*_submission.sh"))) == 1, "submitted once"
    assert not note.exists() and len(list(Path("outputs").rglob("result.json"))) == 3


def test_what_slurm_does_not_take_is_said(words, run):
    code, _, err = run(*words, *SWEEP, "lam=0,0.3", "hydra.launcher.partition=nowhere")
    assert code == 2 and "hydra.launcher.partition=nowhere: Slurm has no such partition. There is: main" in err
    code, _, err = run(*words, *SWEEP, "lam=0,0.3", "hydra.launcher.mem_gb=900000")
    assert code == 2 and "Slurm does not take the jobs" in err
