"""A merge that two runs made is one row of a table and one member of Holm's family."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from support.runs import once

from mam.records.learning import ChosenLam, TuneRecord
from mam.records.result import plain
from mam.report.collect import collect
from mam.report.study_table import show_study
from mam.studies.merges import same_merges
from mam.terminal import Terminal

CHOSEN = TuneRecord("race", [ChosenLam(None, 0.5)], [], 0.5, [])


def as_chosen(result):
    """The same merge, whose λ a race chose: another run, with another hash."""
    return replace(result, tune=CHOSEN, hash="f" * 64)


def test_lambda_as_given_and_as_chosen_are_one_row(words, capsys):
    given, other, control = (once([*words, *more]) for more in (["lam=0.5"], ["lam=1"], ["lam=0.5", "control=shrink"]))
    results = [given.result, as_chosen(given.result), other.result, control.result]
    assert same_merges(results) == {0: [1], 2: [], 3: []}
    show_study(Terminal(), list(zip([{"x": str(i)} for i in range(4)], results, strict=True)), [])
    shown = capsys.readouterr().out
    assert "x=1 is the same merge as x=0: one row" in shown
    assert [line.split()[0] for line in shown.splitlines() if line.startswith(("0 ", "1 ", "2 ", "3 "))] == [
        "0",
        "2",
        "3",
    ]


def test_a_report_counts_it_once(words):
    given, other = (once([*words, f"lam={lam}"]) for lam in (0.5, 1))
    twin = given.folder.parent / "twin"
    shutil.copytree(given.folder, twin)
    (twin / "result.json").write_text(json.dumps(plain(as_chosen(given.result))))
    found = collect([Path("outputs")])
    (group,) = found.groups
    assert sorted(run.folder.name for run in group.runs) == sorted(run.folder.name for run in (given, other))
    assert len(group.adjusted) == 2
    assert "1 run in the row of another run that made the same merge" in found.remarks


def test_trainings_are_merges_of_their_own():
    def trained(seed):
        return SimpleNamespace(train=SimpleNamespace(name="lmam"), hash=str(seed))

    assert same_merges([trained(0), trained(1)]) == {0: [], 1: []}
