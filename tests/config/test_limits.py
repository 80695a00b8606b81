"""Words that claim too much, or are made to break a parser: one sentence each, soon."""

from __future__ import annotations

import time

import pytest
from support.runs import mam

from mam.config.compose import jobs
from mam.config.search import SearchPath, split_search
from mam.config.studies import study_jobs
from mam.errors import ConfigError

DIGITS = "9" * 400


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([f"lam={DIGITS}"], "numbers must lie within"),
        ([f"seed={DIGITS}"], "numbers must lie within"),
        ([f"schedule.values=[0.1,{DIGITS}]"], "numbers must lie within"),
        ([f"schedule.beta={DIGITS}.5"], "must be|cannot be|no number"),
        ([f"plugins=[{'9' * 5000}]"], "plugins="),
        (["model.target_shape.layers=9223372036854775808"], "must be from 1 to 10 000"),
        (["model.target_shape.layers=99999999"], "must be from 1 to 10 000"),
        (["data.fold=9223372036854775807"], "data.fold=.*must be from 0 to 2 147 483 647"),
        (["schedule=gaussian", "schedule.width=1e-200"], "must be from 0.001 to"),
        (["schedule.center=1e300"], "must be from"),
        (["tune.high=1e999"], "must be from|not a finite|cannot"),
        (["study.axes.lam=" + "[" * 500 + "]" * 500], "nested too deeply"),
        (["data.name=" + "x" * 100_000], "100,010 characters are too many .at most 20,000"),
        (["pairing='\udcff'"], "not valid UTF-8"),
    ],
)
def test_values(words, message):
    with pytest.raises(ConfigError, match=message):
        jobs(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lam=range(0,1e9,0.1)"], "10,000,000,000 values are too many"),
        (["seed=shuffle(range(0,1000000000))"], "1,000,000,000 values are too many"),
        (["lam=range(0,1,0)"], "the step of a range must not be 0"),
        (["lam=range(1,0,0.1)"], "there is nothing to run"),
        (["seed=range(0,9999)", "lam=range(0,1,0.001)", "control=none"], "9,999,000 runs .*Use fewer values"),
        (["seed=range(0,100)", "lam=range(0,1,0.005)", "control=none"], "20,000 runs .*set launch.max_runs=20000"),
        (["seed=1,2,3", "control=none", "launch.max_runs=2"], "3 runs are more than launch.max_runs=2"),
    ],
)
def test_sweeps(words, message):
    start = time.process_time()
    with pytest.raises(ConfigError, match=message):
        jobs(words, multirun=True)
    assert time.process_time() - start < 30  # the range of 10^10 values would take an hour


def test_studies():
    plan = jobs(["+study.axes.seed=[1,2,3]", "+study.axes.lam=[0,0.1]", "launch.max_runs=11"]).jobs
    with pytest.raises(ConfigError, match=r"12 runs are more than launch.max_runs=11"):  # with control=shrink
        study_jobs(plan[0])
    axis = f"+study.axes.seed=[{','.join(['1'] * 2_501)}]"
    plan = jobs([axis, "+study.axes.lam=[0,0.1]"]).jobs
    with pytest.raises(ConfigError, match="10,004 runs are more than launch.max_runs=10000"):
        study_jobs(plan[0])


def test_a_bomb_among_ones_own_configurations(tmp_path):
    folder = tmp_path / "conf" / "model"
    folder.mkdir(parents=True)
    levels = "".join(f"k{n + 1}: &k{n + 1} [{','.join([f'*k{n}'] * 10)}]\n" for n in range(8))
    (folder / "mine.yaml").write_text(f"k0: &k0 [x,x,x,x,x,x,x,x,x,x]\n{levels}")
    with pytest.raises(ConfigError, match=r"mine.yaml: .*has more than 100000 values"):
        jobs(["model=mine"], search=SearchPath((f"file://{tmp_path / 'conf'}",)))
    (folder / "mine.yaml").write_text("a: " + "[" * 200 + "]" * 200)
    with pytest.raises(ConfigError, match=r"mine.yaml: .*more than 100 levels deep"):
        jobs(["model=mine"], search=SearchPath((f"file://{tmp_path / 'conf'}",)))
    with (folder / "mine.yaml").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ConfigError, match=r"mine.yaml: .*has 1,048,576 MB"):
        jobs(["model=mine"], search=SearchPath((f"file://{tmp_path / 'conf'}",)))


def test_words_are_counted():
    refused = mam("run", *["a"] * 10_001)
    assert (refused.returncode, refused.stderr) == (
        2,
        "mam: 10,002 arguments are too many (at most 10,000). Put them into configuration files\n",
    )


@pytest.mark.parametrize(
    ("key", "what"),
    [("study.against", "a mapping of names to values"), ("evaluate.by", "a list"), ("schedule.values", "a list")],
)
def test_what_an_interpolation_gives_is_of_the_fields_type(key, what, monkeypatch):
    """OmegaConf does not look at it."""
    monkeypatch.setenv("SOMETHING", "a text")
    with pytest.raises(ConfigError, match=rf"{key}='a text': must be {what}"):
        jobs([f"{key}=${{oc.env:SOMETHING}}"])


@pytest.mark.parametrize("defaults", ["x", "{a: 1}", "[1]", "[[]]"])
def test_a_list_of_defaults_that_is_none(defaults, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\ndefaults: {defaults}\n")
    search, _ = split_search(["--config-dir", str(tmp_path)])
    with pytest.raises(ConfigError, match="experiment"):
        jobs(["experiment=mine"], search=search)
