"""From Python arguments to words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mam.config.composer import Composer
from mam.errors import ConfigError
from mam.interface.words import words_from


def test_words_are_what_would_be_typed():
    options = {
        "lam": 0.05,
        "model": "whisper_minilm",
        "data": {"limit": 3, "root": Path("/a b,c")},
        "schedule": {"name": "list", "values": [0, 0.5]},
        "bias": False,
        "threads": None,
        "layers": "0-3,5",
        "config_dir": "conf",
        "plugins": ["./a.py"],
    }
    assert words_from(["seed=3"], options) == [
        "--config-dir=conf",
        "seed=3",
        "lam=0.05",
        "model=whisper_minilm",
        "data.limit=3",
        "data.root=/a b,c",
        "schedule.name=list",
        "schedule.values=[0,0.5]",
        "bias=false",
        "threads=null",
        "layers='0-3,5'",
        "plugins=['./a.py']",
    ]


def test_a_list_is_a_sweep_unless_the_key_takes_a_list():
    options = {"lam": [0, 0.1], "plugins": ["./a.py"], "schedule": {"values": [0.1]}, "parts": ("qk", "v")}
    assert words_from([], options, has_sweeps=True) == [
        "lam=0,0.1",
        "plugins=['./a.py']",
        "schedule.values=[0.1]",
        "parts=qk,v",
    ]


def test_axes_of_a_study():
    assert words_from([], {"study": {"name": "x", "axes": {"lam": [0.1, 0.2]}}}, has_sweeps=True) == [
        "study.name=x",
        "+study.axes.lam=[0.1,0.2]",
    ]


def test_several_folders_of_configurations():
    assert words_from([], {"config_dir": ["a", Path("b")]}) == ["--config-dir=a", "--config-dir=b"]


@pytest.mark.parametrize("folders", [None, 3, {"a": "b"}, ["a", None], [["a"]]])
def test_folders_of_configurations_that_are_none(folders):
    with pytest.raises(ConfigError, match="config_dir: .* is not a folder. Give a path"):
        words_from([], {"config_dir": folders})


def test_numbers_of_numpy():
    assert words_from([], {"lam": np.float32(0.5), "seed": np.int64(3)}) == ["lam=0.5", "seed=3"]
    assert words_from([], {"lam": np.linspace(0, 1, 3)}, has_sweeps=True) == ["lam=0.0,0.5,1.0"]


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", lambda: 1, 3j])
def test_values_that_are_none(value):
    with pytest.raises(ConfigError, match="seed: cannot be a .*. Give text, numbers or lists"):
        words_from([], {"seed": value})
    with pytest.raises(ConfigError, match="not of the form 'key=value'"):
        words_from([value], {})


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_any_text_arrives_unchanged(text):
    with Composer() as composer:
        (name,) = words_from([], {"data": {"name": text}})
        assert composer.unchecked([name]).config.data.name == text
