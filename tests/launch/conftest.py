"""Fixtures for tests on a Slurm: the cluster, and `mam run` on it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.slurm import is_alive, script, slurm, state, until

from mam.cli import main


@pytest.fixture
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


@pytest.fixture
def in_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Python lines that jobs, none other, run before their batch, ``self``, until there is a file ``spared``."""

    def inject(lines: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(
            "import os, sys, time\n"
            "if any('_submit' in word for word in sys.orig_argv) and not os.path.exists('spared'):\n"
            "    from mam.launch import work\n"
            "    call = work.JobBatch.__call__\n"
            "    def changed(self):\n" + textwrap.indent(lines, 8 * " ") + "\n"
            "        call(self)\n"
            "    work.JobBatch.__call__ = changed\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    return inject


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
