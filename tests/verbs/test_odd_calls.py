"""Calls that no person makes on purpose: one message, no traceback, and streams that are closed change nothing."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import mam as command
from support.warm import program

import mam


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-sc"], "use mam --shell-completion install=SHELL; SHELL is bash, fish or zsh"),
        (["-sc", "query=bash"], "only shells call this, with the line in COMP_LINE"),
        (["run", "--cfg", "x"], "not known. Choose one of: all, hydra, job"),
    ],
)
def test_what_is_for_programs_said_by_hand(words, message):
    answer = command(*words)
    assert answer.returncode == 2 and message in answer.stderr and "Traceback" not in answer.stderr


def test_a_folder_whose_name_has_an_equals_sign_is_a_folder():
    Path("a=b").mkdir()
    assert command("ls", "a=b").stdout.startswith("0 finished runs in a=b")
    assert "a=b: contains no finished run" in command("report", "a=b").stderr


def without_all_streams(words):
    line = shlex.join([sys.executable, "-m", "mam", *words])
    return subprocess.run(f"{line} <&- >&- 2>&-", shell=True, capture_output=True, text=True)


def without_stream(number):
    """As the interpreter starts when one of its streams is closed."""
    name = ("stdin", "stdout", "stderr")[number]
    code = f"import os, sys; os.close({number}); sys.{name} = sys.__{name}__ = None; from mam.cli import main; main()"
    return lambda words: program(words, code)


@pytest.mark.parametrize("start", [without_all_streams, *map(without_stream, range(3))])
def test_closed_streams(start, words):
    """What a command opens must not take the number of a stream that the caller closed."""
    shown = start(["run", *words, "lam=0.5", "data.limit=2", "evaluate.draws=100"])
    assert shown.returncode == 0 and "Traceback" not in shown.stderr, shown.stderr
    (result,) = Path("outputs").rglob("result.json")
    assert "mam run" not in (result.parent / "predictions.jsonl").read_text()


@pytest.mark.parametrize("value", [1, None, object()])
def test_what_is_no_merged_model_is_named(value):
    with pytest.raises(mam.MamError, match=f"{type(value).__name__}: was not merged by mam.merge"):
        mam.unmerge(value)
