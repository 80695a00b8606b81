"""Siblings: two fine-tunes of one model, merged with and without their base."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.runs import jobs

from mam.config.search import ONLY_MAMS
from mam.config.studies import study_jobs
from mam.errors import ConfigError
from mam.evaluation.workbench import Workbench
from mam.launch.request import request
from mam.launch.start import run_several
from mam.models.locate import locate
from mam.runs.run import run
from mam.studies.analysis import analyse
from mam.studies.execute import Member
from mam.studies.siblings import merges, with_siblings
from mam.terminal import Terminal

QUICK = ["data.limit=3", "evaluate.draws=100", "train.steps=2", "train.evaluate_every=2"]
FEW = ["study.second.axes.lam=[0.5]", "study.second.axes.control=[none]"]
WORDS = ["experiment=siblings", *QUICK, *FEW]


def started(*words: str) -> list[Member]:
    """The members of a study, as `mam run` makes them."""
    return run_several(request([*words], False, ONLY_MAMS), Terminal(quiet=True))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The word for a folder in which the two are trained once."""
    return f"outputs={tmp_path_factory.mktemp('siblings')}"


def test_two_are_fine_tuned_and_merged_with_their_base(outputs):
    members = started(*WORDS, outputs)
    assert [member.error for member in members] == [None] * 8  # four arms on two data sets
    results = [member.outcome.result for member in members]
    targets, sources = ({result.model.parents[side].id for result in results} for side in ("target", "source"))
    assert len(targets) == len(sources) == 1 and targets != sources
    assert {result.merge.method for result in results} == {"linear", "task_arithmetic", "ties", "dare"}
    for result in results:
        has_base = result.merge.method != "linear"
        assert (result.model.base is not None) == has_base
        if has_base:
            assert result.model.base.sha256 == locate("asset:demo_hubert").sha256
        assert result.train is None and result.baseline.kind == "unmerged"
    assert {result.data.name for result in results} == {"demo_speech", "demo_speech_shift"}
    found = analyse(members[0].job.config.study, "siblings", members)
    assert found.n == "3" and found.conclusion is None and "(n = 3)" in found.rivalry
    other = replace(members[0].outcome, result=replace(results[0], data=replace(results[0].data, n=7)))
    both = replace(found, members=[replace(members[0], outcome=other), *members[1:]])
    assert both.n == "7, 3" and "(n = 7, 3)" in both.rivalry
    again = started(*WORDS, outputs)
    assert [member.outcome.status for member in again] == ["skipped"] * 8


@pytest.fixture
def trained(outputs):
    """The study, and the two members of its first stage."""
    (study,) = jobs([*WORDS, outputs])
    bench = Workbench()
    return study, [Member(job, run(job, bench), None) for job in study_jobs(study)]


def test_what_cannot_be_merged_is_refused_with_the_reason(trained):
    study, (one, other) = trained
    with pytest.raises(ConfigError, match="This study trained 1, on demo_speech$"):
        merges(study, [one])
    with pytest.raises(ConfigError, match="This study trained 3"):
        merges(study, [one, other, other])
    model = other.outcome.folder / "model"
    model.rename(model.with_name("elsewhere"))
    with pytest.raises(ConfigError, match="has no saved model to merge. Set train.save_model=true"):
        merges(study, [one, other])
    model.with_name("elsewhere").rename(model)


def test_a_failed_training_is_reported_and_nothing_is_merged(trained):
    study, (one, other) = trained
    failed = [one, Member(other.job, None, "out of memory")]
    assert with_siblings(study, failed, lambda jobs: pytest.fail("nothing can be merged")) == failed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+study.second.axes.lam=[0.1]"], "study.second: has no effect without study.then=siblings"),
        (["study.then=siblings"], "study.then=siblings: needs the merges of the second stage"),
        (["experiment=siblings", "+study.second.axes.lamm=[1]"], "lamm: there is no such key"),
        (["experiment=siblings", "study.second.axes.lam=1"], "an axis must be a list of values"),
        (["experiment=siblings", "study.second.axes={}"], "axes are set one at a time"),
        (["experiment=siblings", "study.second.arms.dare=x"], "an arm must be a list of overrides"),
        (["experiment=siblings", "study.second.axes.parts=[qk]"], r"use \+study.second.axes.parts"),
    ],
)
def test_words_that_mean_nothing(words, message):
    with pytest.raises(ConfigError, match=message):
        jobs(words)
