"""`mam run --help`: every key with what it means, and only those that are asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import mam.conf
import pytest
from omegaconf import DictConfig, OmegaConf

from mam.config.reference import key_docs
from mam.config.schema import Config
from mam.config.search import FILE_GROUPS, SELECTED, groups
from mam.errors import ConfigError
from mam.verbs.run import main

CONF = Path(next(iter(mam.conf.__path__)))


def shown(capsys, *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_every_key_has_a_meaning():
    assert [doc.key for doc in key_docs(Config) if not doc.meaning] == []


def test_everything_is_in_the_help_once(capsys):
    text = shown(capsys, "--help")
    assert max(map(len, text.splitlines())) <= 80
    keys = re.findall(r"(?m)^  ([\w.]+)=\S*(?=  |$)", text.split("configuration groups: group=name")[0])
    assert sorted(keys) == sorted(doc.key for doc in key_docs(Config))
    sections = re.findall(r"(?m)^(.+): key=default$", text)
    assert sections == ["merge", "model", "data", "train", "tune", "evaluate", "study", "launch", "everything else"]
    flat = " ".join(text.split())
    assert "how λ depends on depth (constant, linear, power, lines, gaussian, list)" in flat
    assert "what to do about unusable examples: stop or skip data.language" in flat, (
        "choices that the meaning has already"
    )
    assert "layers= all, even, odd, top12, top2, top6 method=" in flat
    folders = {str(path.parent.relative_to(CONF)) for path in CONF.glob("*/**/*.yaml")}
    assert folders == set(FILE_GROUPS)


def test_groups_of_files_are_those_of_conf_in_the_order_of_its_defaults():
    defaults = OmegaConf.load(CONF / "config.yaml").defaults
    named = [name for entry in defaults if isinstance(entry, DictConfig) for name in entry]
    assert named == [*SELECTED, "experiment"] and {*named, "hydra"} == set(groups())


@pytest.mark.parametrize(
    "words, keys",
    [
        (["--help", "lam"], ["lam"]),
        (["-h", "lam=0.3"], ["lam"]),
        (["seed", "--help", "device"], ["seed", "device"]),
        (["--help", "limit"], ["calibration.limit", "data.limit", "train.limit"]),
        (["--help", "launcher"], []),
    ],
)
def test_words_narrow_it(capsys, words, keys):
    text = shown(capsys, *words)
    assert re.findall(r"(?m)^  ([\w.]+)=", text) == keys
    assert "\nexamples\n" not in text and ("hydra/launcher=" in text) == (words[-1] == "launcher")


def test_a_group_has_its_keys_and_its_files(capsys):
    text = shown(capsys, "--help", "layers")
    assert "  layers.spec=all  target layers to merge: all, odd, even," in text and text.split("layers=\n")[
        1
    ].startswith("  all    every layer")


@pytest.mark.parametrize("words", [["--help", "lamm"], ["--help", "="], ["--help", "--fast"], ["-h", ""]])
def test_a_word_that_names_nothing_is_an_error(words):
    with pytest.raises(ConfigError, match="not a key or group of `mam run`"):
        main(words)


def test_it_imports_nothing_that_computes():
    code = (
        "import sys; from mam.verbs.run import main; main(['--help']);"
        " print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
