"""Launchers of Hydra's that mam does not know: submitit's local one here, own settings, and those that cannot start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.runs import jobs, mam

from mam.config.search import ONLY_MAMS, SearchPath
from mam.errors import ConfigError, MamError
from mam.evaluation.workbench import Workbench
from mam.launch import by_hydra
from mam.launch.launch import launch
from mam.launch.request import request
from mam.launch.settings import launcher_of
from mam.studies.execute import study_folder

QUICK = ["data.limit=2", "evaluate.draws=100", "control=none"]


def test_a_sweep_by_a_launcher_of_hydras_equals_one_in_this_process():
    words = ["run", "--multirun", "lam=0,0.3", "launch.jobs_per_task=2", *QUICK]
    shown = mam(*words, "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")
    assert shown.returncode == 0 and "2 runs: 2 finished now" in shown.stdout, shown.stderr
    assert mam(*words, "outputs=here").returncode == 0
    there, here = (
        {json.loads(path.read_text())["hash"]: (path.parent / "predictions.jsonl").read_bytes() for path in paths}
        for paths in (Path("outputs").rglob("result.json"), Path("here").rglob("result.json"))
    )
    assert there == here and len(here) == 2


def test_a_launcher_of_ones_own():
    path = Path("conf/hydra/launcher/mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("defaults: [submitit_local]\ntimeout_min: 7\n")
    launcher = launcher_of(["hydra/launcher=mine"], SearchPath(("file://conf",)))
    assert (launcher.name, launcher.settings["timeout_min"]) == ("mine", 7)


def test_a_launcher_that_cannot_be_made():
    path = Path("conf/hydra/launcher/mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("_target_: nowhere.Launcher\n")
    search = SearchPath(("file://conf",))
    plan = jobs(["lam=0,0.3", *QUICK], multirun=True)
    launcher = launcher_of(["hydra/launcher=mine"], search)
    with pytest.raises(ConfigError, match="hydra/launcher=mine: cannot be started here"):
        by_hydra.launcher_from(launcher.words, search, Path("x"), [])
    assert len(plan) == 2


class Nothing:
    """A launcher that starts nothing."""

    def launch(self, overrides: object, initial_job_idx: int) -> None:
        raise OSError("no machine")


def test_jobs_that_leave_no_note(monkeypatch, capsys):
    monkeypatch.setattr(by_hydra, "launcher_from", lambda *_: Nothing())
    plan = jobs(["lam=0,0.3", *QUICK], multirun=True)
    members = launch(plan, Workbench(), study_folder(plan, "x"), launcher_of(["hydra/launcher=submitit_local"]))
    assert [member.outcome for member in members] == [None, None]
    errand = by_hydra.LaunchRequest(
        (), {}, ("hydra/launcher=x",), ONLY_MAMS, Path("f"), lambda: ["a"], print, 1, print, submission=None
    )
    with pytest.raises(
        MamError, match=r"hydra/launcher=x: ended \(OSError: no machine\), but 1 job left no result in f"
    ):
        by_hydra.send_by_hydra(errand)


def test_only_slurm_has_a_queue_to_leave_jobs_in():
    with pytest.raises(ConfigError, match="launch.wait=false: has no effect without hydra/launcher=slurm"):
        request(["lam=0,0.1", "launch.wait=false"], True, ONLY_MAMS)
