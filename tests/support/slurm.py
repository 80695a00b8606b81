"""A Slurm of three nodes (scripts/slurm_nodes.sh) in tests: commands on it, and what they wait for."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

marks = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        not os.environ.get("SLURM_CONF") or shutil.which("sbatch") is None, reason="no Slurm (make test-slurm)"
    ),
]
HOME = Path(os.environ.get("SLURM_CONF", "/nowhere/slurm.conf")).parent
NODES = Path(__file__).parents[2] / "scripts" / "slurm_nodes.sh"
SLURM = [
    "hydra/launcher=slurm",
    *(f"hydra.launcher.{key}" for key in ("gpus_per_node=null", "mem_gb=2", "cpus_per_task=1", "timeout_min=10")),
]
SWEEP = ["--multirun", *SLURM, "control=none", "evaluate.draws=200"]


def is_alive(node: str) -> bool:
    try:
        os.kill(int((HOME / f"n{node}.pid").read_text()), 0)
    except (OSError, ValueError):
        return False
    return not (HOME / "spool" / f"n{node}.dirty").exists()


def end(process: subprocess.Popen[str], seconds: float = 180) -> tuple[int, str, str]:
    code = process.wait(timeout=seconds)
    return code, Path("out").read_text(), Path("err").read_text()


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
