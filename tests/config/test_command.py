"""Every recorded command, typed into an empty folder, makes that very run."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mam.conf
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.runs import jobs, once
from support.runs import mam as command

from mam.config.command import command_of, words_of
from mam.config.job import Job
from mam.config.studies import study_jobs
from mam.config.words import verbatim, word_of
from mam.evaluation.workbench import Workbench
from mam.studies.execute import execute
from mam.studies.pairs import words_of_pairs
from mam.studies.transfer import second_stage

EXPERIMENTS = sorted(path.stem for path in (Path(next(iter(mam.conf.__path__))) / "experiment").glob("*.yaml"))


def typed(command: str) -> Job:
    program, verb, *words = shlex.split(command)
    assert (program, verb) == ("mam", "run")
    (job,) = jobs(words)
    assert not (job.config.study.axes or job.config.study.arms or job.config.study.pairs)
    return job


def planned(*words: str) -> list[Job]:
    (study,) = jobs(words)
    config = study.config.study
    if not (config.axes or config.arms or config.pairs):
        return [study]
    return study_jobs(study, words_of_pairs(config.pairs) if config.pairs else None)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_member_of_every_experiment(experiment):
    (study,) = jobs([f"experiment={experiment}"])
    # Of seeds and of λ one each: the others differ in nothing else.
    one = [
        f"study.axes.{key}=[{value}]" for key, value in (("seed", 4), ("lam", 0.1)) if key in study.config.study.axes
    ]
    for job in planned(f"experiment={experiment}", *one):
        again = typed(command_of(job))
        assert (again.resolved, again.signature) == (job.resolved, job.signature)


def test_what_was_said_beside_the_experiment_is_in_it():
    said = ["lam=0.3", "parts=kv", "data.limit=3", "data.split=dev", "evaluate.batch_seconds=7", "track=[]"]
    plan = planned("experiment=ablation_layers", *said, "+study.axes.seed=[3]", "schedule=linear", "schedule.start=0.5")
    for job in plan[:2]:
        again = typed(command_of(job))
        assert again.resolved == job.resolved and again.config.seed == 3 and again.config.schedule.start == 0.5
    (first, *_) = plan
    assert "experiment=" not in command_of(first) and "study." not in command_of(first)


def test_a_second_stage_that_carries_lambda_over():
    (study,) = jobs(["experiment=lambda_transfer", "train.steps=7"])
    result = SimpleNamespace(merge=SimpleNamespace(lam=[0.1, 0.2, 1e-05, 0.4]))
    first = [SimpleNamespace(job=job, outcome=SimpleNamespace(result=result)) for job in study_jobs(study)]
    for job in second_stage(study, first):
        again = typed(command_of(job))
        assert again.resolved == job.resolved and again.config.train.steps == 7
        assert again.config.schedule.values == (
            [] if job.config.study.arm.startswith("fixed") else [0.1, 0.2, 1e-05, 0.4]
        )


def test_members_of_a_multirun_keep_the_rate_on_dev():
    plan = jobs(
        ["lam=0,0.05", "layers.spec='0-1,3','2'", "experiment=zero_shot_ljspeech", "model=demo_hubert_bert"], True
    )
    assert len(plan) == 6
    for job in plan:
        again = typed(command_of(job))
        assert again.resolved == job.resolved and again.config.evaluate.dev == job.config.evaluate.dev
    assert {job.config.evaluate.dev for job in plan} == {True, False}
    (member, *_) = planned("experiment=lambda_grid", "evaluate.dev=true")
    assert typed(command_of(member)).config.evaluate.dev


def test_axes_of_every_kind_of_value():
    (study,) = jobs(["study.name=x", "+study.axes.control=[none]"])
    axes = {"data.limit": [None, 3], "bias": [True, False], "layers.spec": ["0-1", "0,2"], "evaluate.draws": [1000]}
    values = replace(study.config.study, axes=axes | {"control": ["none"], "schedule": ["linear"]})
    plan = study_jobs(replace(study, config=replace(study.config, study=values)))
    assert [(job.config.data.limit, job.config.bias, job.config.layers.spec) for job in plan] == [
        (limit, bias, spec) for limit in (None, 3) for bias in (True, False) for spec in ("0-1", "0,2")
    ]
    assert all(typed(command_of(job)).resolved == job.resolved for job in plan)


@pytest.mark.parametrize(
    "text",
    [
        'it\'s, a "b"',
        "a\\",
        "back\\'slash",
        "${oc.env:HOME}",
        "null",
        "'quoted'",
        "1e-3",
        "true",
        "a=b;c $x *",
        "",
        "é λ",
    ],
)
def test_odd_texts_come_back_as_they_are(text, tmp_path):
    plan = planned(
        "study.name=x",
        "+study.axes.control=[none]",
        word_of("data.note", text),
        "data=audiofolder",
        word_of("data.root", text or "x"),
    )
    (job,) = plan
    assert (job.config.data.note, job.config.data.root) == (text, text or "x")
    assert typed(command_of(job)).resolved == job.resolved


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=20) | st.none())
@example("İ")  # which is an i without case, but no letter of Hydra's grammar
def test_any_text_survives_its_word(value):
    for key in ("data.note", "data.root"):
        read = OverridesParser.create().parse_override(verbatim(word_of(key, value))).value()
        assert OmegaConf.to_container(OmegaConf.create({"x": read}), resolve=True) == {"x": value}


@given(st.lists(st.floats(0, 1) | st.text("ab,'\" ", max_size=4), max_size=4))
def test_any_list_survives_its_word(values):
    read = OverridesParser.create().parse_override(verbatim(word_of("schedule.values", values))).value()
    assert read == values


def test_typed_elsewhere_it_is_the_same_run(words):
    """A study run, its members' commands run one by one with other outputs: the same hash, the same bytes."""
    axes = ["study.name=x", "+study.axes.lam=[0.0,0.4]", "+study.axes.control=[none,shrink]"]
    arms = ['+study.arms.plain=["method=linear"]', '+study.arms.arc=["method=slerp","parts=kv"]']
    (study,) = jobs([*words, *axes, *arms, "evaluate.draws=200"])
    ended = execute(study_jobs(study), Workbench(), Path("outputs/study"))
    assert len(ended) == 6 and all(end.outcome for end in ended)
    for end in ended:
        result = end.outcome.result
        again = once([*shlex.split(result.command)[2:], "outputs=elsewhere"])
        assert again.status == "finished" and again.result.hash == result.hash
        assert shlex.split(again.result.command)[2:-1] == list(words_of(end.job))
        for name in ("predictions.jsonl", "lambda.csv"):
            assert (again.folder / name).read_bytes() == (end.outcome.folder / name).read_bytes()


def test_the_demo_in_an_empty_folder(tmp_path_factory, monkeypatch):
    (study,) = jobs(["experiment=lambda_grid", "study.axes.lam=[0.05]", "data.limit=2", "evaluate.draws=200"])
    plain, shrink = execute(study_jobs(study), Workbench(), Path("outputs/study"))
    assert plain.outcome.result.command == "mam run data.limit=2 evaluate.draws=200"
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    command(*shlex.split(shrink.outcome.result.command)[1:]).check_returncode()
    (result,) = Path("outputs").glob("*/*/result.json")
    assert json.loads(result.read_text())["hash"] == shrink.outcome.result.hash
