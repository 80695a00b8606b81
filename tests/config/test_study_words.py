"""A study of one's own, by words alone: what it names must be there, what it shows must be known."""

from __future__ import annotations

import pytest
from support.runs import jobs

from mam.config.studies import study_jobs
from mam.errors import ConfigError

ARMS = ['+study.arms.base=["lam=0.1"]', '+study.arms.mine=["lam=0.2"]']


def test_arms_have_the_names_that_one_gives_them():
    (study,) = jobs(["study.name=x", *ARMS, "study.reference=base", "control=none"])
    assert [(job.config.study.arm, job.config.lam) for job in study_jobs(study)] == [("base", 0.1), ("mine", 0.2)]
    assert {job.config.study.reference for job in study_jobs(study)} == {"base"}


@pytest.mark.parametrize("key", ["reference", "paper_arm"])
def test_an_arm_that_is_not_there_is_refused_by_name(key):
    with pytest.raises(ConfigError, match=f"study.{key}=FT: there is no such arm. Choose one of: base, mine"):
        jobs(["study.name=x", *ARMS, f"study.{key}=FT"])


def test_a_reference_is_refused_where_there_are_no_arms_and_where_a_second_stage_makes_some():
    for words in (["study.name=x", "+study.axes.lam=[0.1]"], ["experiment=lambda_transfer"]):
        with pytest.raises(ConfigError, match="study.reference=bas: there is no such arm"):
            jobs([*words, "study.reference=bas"])
    assert jobs(["experiment=lambda_transfer", "study.reference=own"])


def test_further_comparisons_and_labels_are_said_by_words():
    words = ["study.name=x", *ARMS, "+study.against.mine=[base]", "+study.labels.mine=My merge", "control=none"]
    (study,) = jobs(words)
    config = study.config.study
    assert (config.against, config.labels) == ({"mine": ["base"]}, {"mine": "My merge"})
    assert len(study_jobs(study)) == 2
    with pytest.raises(ConfigError, match="study.against.mine=nobody: there is no such arm"):
        jobs(["study.name=x", *ARMS, "+study.against.mine=[nobody]"])


@pytest.mark.parametrize(
    "word, message",
    [
        ("study.then=later", r"study\.then=later: not known\. Choose one of:\n      none .*\n      transfer  "),
        (
            "study.table=big",
            r"study\.table=big: not known\. Choose one of:\n      none .*\n      zero_shot .*\n      tr",
        ),
        (
            "study.show=[everything]",
            r"study\.show=everything: not known\. Choose from: mismatch, similarity, stability",
        ),
        ("study.show=[stability,all]", r"study\.show=all: not known"),
        ("study.then=null", r"study\.then"),
    ],
)
def test_what_a_study_cannot_do_is_refused(word, message):
    with pytest.raises(ConfigError, match=message):
        jobs(["study.name=x", *ARMS, word])


def test_a_study_changes_no_run():
    """What a study says of itself is not part of the question that its members answer."""
    (study,) = jobs(["study.name=x", *ARMS, "study.reference=base", "study.show=[stability]", "control=none"])
    assert [job.signature for job in study_jobs(study)] == [jobs([f"lam={lam}"])[0].signature for lam in (0.1, 0.2)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trian.steps=1", "study.arms.a: trian.steps: there is no such key. Did you mean: .*train.steps"),
        ("lam=0.1,0.2", "study.arms.a: lam=0.1,0.2: several values need --multirun"),
        ("lam.x=1", "study.arms.a: lam.x"),
    ],
)
def test_a_wrong_word_of_an_arm_is_named_with_its_arm(word, message):
    (study,) = jobs(["study.name=x", f'+study.arms.a=["{word}"]'])
    with pytest.raises(ConfigError, match=message):
        study_jobs(study)


def test_axes_with_dots_in_their_names():
    (study,) = jobs(["study.name=x", "+study.axes.data.limit=[5,6]", "control=none"])
    assert [job.config.data.limit for job in study_jobs(study)] == [5, 6]
    (study,) = jobs(["experiment=ablation_layers", "study.axes.layers.spec=[top2]"])
    assert study.config.study.axes["layers.spec"] == ["top2"]
    assert jobs([])[0].config.study.axes == {}, "nothing is left for later configurations"
