"""A wheel, installed into an empty environment, runs the demo from an unrelated folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_room_is_in_the_wheel():
    """An editable install finds what the list of packages forgot; a wheel does not."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "mam").rglob("__init__.py")}
    assert set(listed) == rooms | {"mam.conf"}


@pytest.mark.slow
def test_a_wheel_runs_the_demo_anywhere(tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT], check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / "bin"
    constraints = {"PIP_CONSTRAINT": str(ROOT / ".ci" / "constraints.txt")}
    subprocess.run([binaries / "pip", "install", "--quiet", wheel], check=True, env=os.environ | constraints)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shown = subprocess.run([binaries / "mam", "run"], cwd=elsewhere, capture_output=True, text=True, check=True)
    assert "baseline λ=0" in shown.stdout and list((elsewhere / "outputs").rglob("result.json"))
    assert subprocess.run([binaries / "mam", "run", "--cfg", "job"], cwd=elsewhere, check=True).returncode == 0
