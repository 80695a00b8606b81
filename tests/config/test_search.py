"""Configurations of the user's own: where they are looked up, what they hide, what a run keeps of them, bad folders."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from omegaconf import OmegaConf
from support.runs import mam

from mam.config import compose
from mam.config.command import command_of
from mam.config.composer import Composer
from mam.config.search import ONLY_MAMS, SearchPath, groups, split_search
from mam.config.studies import study_jobs
from mam.errors import ConfigError
from mam.evaluation.workbench import Workbench
from mam.runs.run import run
from mam.runs.shapes import with_shapes

PAIR = "name: mine\ntask: asr\ntarget: asset:demo_hubert\nsource: asset:demo_bert\n"


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def composed(words: list[str], multirun: bool = False) -> list:
    search, rest = split_search(words)
    return compose.jobs(rest, multirun, search).jobs


def test_the_groups_are_those_of_mam():
    names = ("data", "experiment", "hydra", "layers", "method", "model", "schedule", "train", "tune")
    assert groups() == names


@pytest.mark.parametrize(
    "words",
    [
        ["--config-dir", "conf"],
        ["--config-dir=conf"],
        ["-cd", "conf"],
        ["hydra.searchpath=[file://conf]"],
        ["hydra.searchpath=['file://conf']"],
    ],
)
def test_every_way_to_name_a_folder(words):
    write("conf/model/mine.yaml", PAIR)
    search, rest = split_search([*words, "model=mine"])
    assert search == SearchPath(("file://conf",)) and rest == ["model=mine"]
    (job,) = composed([*words, "model=mine"])
    assert (job.config.model.name, job.config.model.source) == ("mine", "asset:demo_bert")
    assert [(file.name, file.place, file.hides) for file in job.own_files] == [
        ("model/mine", "conf/model/mine.yaml", False)
    ]


def test_a_package_of_configurations(monkeypatch):
    write("mypackage/__init__.py", "")
    write("mypackage/conf/__init__.py", "")
    write("mypackage/conf/model/mine.yaml", PAIR)
    monkeypatch.syspath_prepend(os.getcwd())
    (job,) = composed(["hydra.searchpath=[pkg://mypackage.conf]", "model=mine"])
    assert job.config.model.name == "mine"
    assert command_of(job) == "mam run 'hydra.searchpath=[pkg://mypackage.conf]' model=mine"


def test_default_folders_are_searched_unless_a_flag_names_others(monkeypatch):
    for folder in ("mam_conf", "other", "third"):
        write(f"{folder}/model/{folder}.yaml", PAIR)
    assert split_search([])[0].own == ("file://mam_conf",)
    monkeypatch.setenv("MAM_CONFIG_DIR", f"other{os.pathsep}third")
    assert split_search([])[0].own == ("file://other", "file://third")
    assert split_search(["--config-dir", "mam_conf"])[0].own == ("file://mam_conf",)
    monkeypatch.setenv("MAM_CONFIG_DIR", "")
    assert split_search([])[0].own == ("file://mam_conf",)
    shutil.rmtree("mam_conf")
    assert split_search([])[0] == ONLY_MAMS
    monkeypatch.setenv("MAM_CONFIG_DIR", "nowhere")
    with pytest.raises(ConfigError, match="nowhere: there is no such folder"):
        split_search([])


def test_files_in_folders_within_a_group_and_values_of_other_files():
    write("conf/model/team/mine.yaml", PAIR)
    write(
        "conf/experiment/team/quick.yaml", "# @package _global_\ndefaults:\n  - override /model: team/mine\nlam: 0.3\n"
    )
    (job,) = composed(["--config-dir=conf", "experiment=team/quick"])
    assert (job.config.model.name, job.config.lam) == ("mine", 0.3)
    assert [file.name for file in job.own_files] == ["experiment/team/quick", "model/team/mine"]


def test_earlier_places_hide_later_ones_and_mams():
    write("a/data/ljspeech.yaml", "name: mine\nformat: ljspeech\nroot: a\n")
    write("b/data/ljspeech.yaml", "name: theirs\nformat: ljspeech\nroot: b\n")
    write("b/data/esc50.yaml", "name: sounds\nformat: esc50\nroot: b\n")
    words = ["--config-dir=a", "--config-dir=b"]
    (speech,) = composed([*words, "data=ljspeech"])
    (sounds,) = composed([*words, "data=esc50", "model=demo_beats_vit"])
    assert (speech.config.data.name, sounds.config.data.name) == ("mine", "sounds")
    assert [file.hides for file in (*speech.own_files, *sounds.own_files)] == [True, True]
    (mams,) = composed(["--config-dir=a", "data=vctk"])
    assert mams.own_files == () and mams.config.data.format == "vctk"


def test_a_hidden_name_is_said_and_recorded():
    write("conf/data/demo_speech.yaml", "name: mine\nformat: audiofolder\nroot: asset:demo_speech\n")
    shown = mam("run", "--config-dir", "conf", "data.limit=2", "data.language=en")
    assert shown.returncode == 0, shown.stderr
    assert "mam: data=demo_speech is taken from conf/data/demo_speech.yaml instead of mam's own" in shown.stderr
    (result,) = Path("outputs").rglob("result.json")
    (recorded,) = json.loads(result.read_text())["extensions"]["configs"]
    assert (recorded["name"], recorded["path"], recorded["hides"]) == (
        "data/demo_speech",
        "conf/data/demo_speech.yaml",
        True,
    )


def test_a_run_is_repeated_from_the_files_it_kept():
    write("conf/model/mine.yaml", PAIR)
    (job,) = composed(["--config-dir=conf", "model=mine", "data.limit=2", "lam=0.3"])
    first = run(*with_shapes([job]), Workbench())
    kept = first.folder / ".hydra" / "own"
    assert (kept / "model" / "mine.yaml").read_text() == PAIR
    shutil.rmtree("conf")
    (again,) = composed([f"--config-dir={kept}", "model=mine", "data.limit=2", "lam=0.3"])
    assert run(*with_shapes([again]), Workbench()).folder == first.folder  # the same question, answered already


def test_the_command_of_a_member_of_a_study_finds_the_files():
    write("conf/model/mine.yaml", PAIR)
    write("conf/experiment/own.yaml", "# @package _global_\nstudy:\n  name: own\n  axes: { lam: [0, 0.2] }\n")
    (study,) = composed(["--config-dir=conf", "model=mine", "experiment=own"])
    plan = study_jobs(study)
    assert len(plan) == 3
    for job in plan:
        words = shlex.split(command_of(job))[2:]
        assert words[0] == "--config-dir=conf"
        (again,) = composed(words)
        assert again.resolved == job.resolved


def test_hydras_state_is_left_alone():
    GlobalHydra.instance().clear()
    before = VersionBase.instance().getbase()
    with Composer() as composer:
        composer.job(["lam=0.1"])
    assert not GlobalHydra.instance().is_initialized()
    assert VersionBase.instance().getbase() is before


def test_help_completion_and_the_configuration_show_own_files():
    write("conf/model/mine.yaml", "# A pair of my own.\n" + PAIR)
    assert "mine" in mam("-sc", "query=bash", COMP_LINE="mam run --config-dir conf model=mi").stdout
    assert mam("-sc", "query=bash", COMP_LINE="mam run model=mi").stdout.split() == []
    shown = mam("run", "--config-dir=conf", "--cfg", "job", "model=mine")
    assert OmegaConf.create(shown.stdout).model.name == "mine"
    shutil.move("conf", "mam_conf")
    assert OmegaConf.create(mam("run", "--cfg", "job", "model=mine").stdout).model.name == "mine"
    wrong = mam("run", "model=minus")
    assert wrong.returncode == 2 and re.search(r"\n      mine +A pair of my own.\n", wrong.stderr)


@pytest.mark.parametrize(
    ("files", "words", "message"),
    [
        ({}, ["--config-dir", "none"], "none: there is no such folder. Name a folder of configurations"),
        ({}, ["--config-dir"], "--config-dir: needs a folder. Write --config-dir FOLDER"),
        ({}, ["--config-dir="], "--config-dir: needs a folder. Write --config-dir FOLDER"),
        ({"c/readme": ""}, ["-cd", "c"], "c: has no configuration files"),
        ({"c/m/x.yaml": ""}, ["-cd", "c"], "c: has no configuration files"),
        ({"c/model/x.yml": ""}, ["-cd", "c"], "c: model/x.yml would be ignored. Configuration files must end in .yaml"),
        (
            {"c/config.yaml": "", "c/model/x.yaml": ""},
            ["-cd", "c"],
            "c: its config.yaml would replace mam's, which has the defaults of all keys",
        ),
        ({"c": ""}, ["-cd", "c"], "c: there is no such folder. Name a folder of configurations"),
        ({}, ["hydra.searchpath=[ftp://x]"], "ftp://x: must be file://FOLDER or pkg://PACKAGE"),
        ({}, ["hydra.searchpath=[pkg://no.conf]"], r"pkg://no.conf: cannot be imported \(ModuleNotFoundError"),
        ({}, ["hydra.searchpath=file://x"], r"hydra.searchpath=file://x: must be a list, hydra.searchpath=\[...\]"),
        ({}, ["hydra.searchpath=[file://x"], r"hydra.searchpath=\[file://x: "),
        ({"c/model/x.yaml": "name: [x\n"}, ["-cd", "c", "model=x"], 'not valid YAML: .*c/model/x.yaml", line 1'),
        ({"c/model/x.yaml": "- x\n"}, ["-cd", "c", "model=x"], "model/x"),
        ({"c/model/x.yaml": "nam: x\n"}, ["-cd", "c", "model=x"], "In 'model/x': .*Key 'nam' not in 'ModelConfig'"),
        (
            {"c/model/x.yaml": "defaults: [nope]\n"},
            ["-cd", "c", "model=x"],
            "In 'model/x': Could not load 'model/nope'",
        ),
        (
            {"c/model/a.yaml": "defaults: [b]\n", "c/model/b.yaml": "defaults: [a]\n"},
            ["-cd", "c", "model=a"],
            "model=a: the files include each other in their defaults. Remove the circular default",
        ),
    ],
)
def test_bad_places_and_files(files, words, message):
    for path, text in files.items():
        write(path, text)
    with pytest.raises(ConfigError, match=message):
        composed(words)


def test_a_file_that_is_not_text():
    write("c/model/x.yaml", "").write_bytes(b"\xff\xfe")
    for name in ("x", "y"):  # the file itself, and a list of all files
        with pytest.raises(ConfigError, match=r"c/model/x.yaml: is not UTF-8 text .* Convert it"):
            composed(["--config-dir=c", f"model={name}"])
