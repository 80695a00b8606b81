"""What needs no model answers at once: neither torch nor another library that takes a second is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import mam

HEAVY = ("torch", "transformers", "datasets", "scipy.stats", "pandas", "matplotlib", "sklearn", "evaluate")
# Runs mam in a process of its own and prints at the end what it imported.
PROGRAM = f"""
import atexit, sys
atexit.register(lambda: print("imported", [name for name in {HEAVY} if name in sys.modules]))
from mam.cli import main
main()
"""


def answer(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True)


def made(*words: str) -> Path:
    """The folder of a run that a process of its own made."""
    shown = mam("run", *words)
    return Path(next(line for line in shown.stdout.splitlines() if line.startswith("files")).split()[1])


def is_light(shown: subprocess.CompletedProcess[str]) -> bool:
    return shown.stdout.splitlines()[-1] == "imported []"


def test_what_is_finished_is_said_without_a_model(words):
    first = made(*words, "lam=0.5")
    shown = answer("run", *words, "lam=0.5")
    assert is_light(shown), shown.stdout + shown.stderr
    assert f"skipped: this run has finished already, in {first}" in shown.stdout and "merged λ=0.5" in shown.stdout
    other = made(*words, "lam=0.25")
    for verb, said in (
        (("ls",), "2 finished runs"),
        (("score", first, "normalizer=none"), "merged λ=0.5"),
        (("compare", first, other), "B − A"),
    ):
        shown = answer(*verb)
        assert shown.returncode == 0 and said in shown.stdout and is_light(shown), shown.stdout + shown.stderr


@pytest.mark.parametrize("more", [[], ["experiment=controls"]])
def test_a_sweep_that_is_finished_is_said_without_a_model_and_makes_no_files(words, more):
    sweep = ["run", *([] if more else ["--multirun"]), *words, *more, "study.axes.lam=[0.5]" if more else "lam=0,0.5"]
    first = mam(*sweep)
    assert first.returncode == 0, first.stderr
    before = {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("*")}
    shown = answer(*sweep)
    assert shown.returncode == 0 and is_light(shown), shown.stdout + shown.stderr
    assert " 0 finished now" in shown.stdout and " 0 failed" in shown.stdout
    assert {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("*")} == before
    files = [text.splitlines() for text in (first.stdout, shown.stdout)]
    assert len({next(line for line in lines if line.startswith("files ")) for lines in files}) == 1


@pytest.mark.parametrize(
    ("said", "verb"),
    [
        ("there is no such folder", ["run", "data=audiofolder", "data.root=none"]),
        ("there is no such folder", ["run", "model.target=./none"]),
        ("as configured", ["run", "model.target=asset:demo_hubert", "model.target_shape.width=32", "lam=2"]),
        ("is not a finished run", ["score", "none"]),
        ("is not a finished run", ["compare", "none", "none"]),
        ("there is no such folder", ["report", "none"]),
        ("there is no such folder", ["ls", "none"]),
        ("the hub cannot be reached", ["run", "data=hub", "data.hub.id=owner/name"]),
    ],
)
def test_a_refusal_that_needs_no_weights_imports_nothing(said, verb):
    shown = answer(*verb)
    assert shown.returncode in (1, 2) and is_light(shown), shown.stdout + shown.stderr
    assert said in shown.stderr or "lam=2" in shown.stderr
