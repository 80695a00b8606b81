"""Configurations are what Hydra composes of the same words, and Hydra is asked once for each choice of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mam.conf
import pytest
from omegaconf import OmegaConf
from support.runs import by_hydra, jobs

from mam.config.composer import Composer
from mam.config.job import Job
from mam.config.schema import Config
from mam.config.studies import study_jobs
from mam.errors import ConfigError
from mam.merging.options import Calibration
from mam.studies.pairs import words_of_pairs

EXPERIMENTS = sorted((Path(next(iter(mam.conf.__path__))) / "experiment").glob("*.yaml"))
STUDIES = [path.stem for path in EXPERIMENTS if "study:" in path.read_text()]


def composed(words: Sequence[str]) -> tuple[Config, dict[str, str]]:
    """The configuration and the chosen files, composed by Hydra alone."""
    node = by_hydra(words)
    own = OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"])
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), own))
    return config, OmegaConf.to_container(node.hydra.runtime.choices)


def members(name: str) -> list[Job]:
    """The first, the last and some other members of a study, of one seed and one λ."""
    (study,) = jobs([f"experiment={name}"])
    few = [
        f"study.axes.{key}=[{value}]" for key, value in (("seed", 4), ("lam", 0.1)) if key in study.config.study.axes
    ]
    (study,) = jobs([f"experiment={name}", *few])
    plan = study_jobs(study, words_of_pairs(study.config.study.pairs))
    return [*plan[:: max(1, len(plan) // 2)], plan[-1]]


@pytest.mark.parametrize("name", STUDIES)
def test_members_of_a_study_are_what_hydra_composes(name):
    plan = members(name)
    with Composer() as composer:
        there = [composer.unchecked(job.words) for job in plan]
        back = [composer.unchecked(job.words) for job in reversed(plan)]
    assert [job.config for job in back] == [job.config for job in reversed(there)], "no word outlives its member"
    for job, again in zip(plan, there, strict=True):
        expected, choices = composed(job.words)
        assert again.config == expected == job.config
        assert OmegaConf.to_container(again.files.runtime.choices) == choices


@pytest.mark.parametrize(
    "words",
    [
        ["calibration={limit: 3}"],
        ["calibration.limit=3", "calibration={source: x}"],
        ["tune=grid", "tune.values=[0.1,0.2]"],
        ["data.root=/a b,(c) [d]", "data.limit=2"],
        ["model=whisper_base_minilm"],
        ["model.pairing=top", "model.on_mismatch=project"],
        ["model=hubert_xlarge_vit", "pairing=top"],
        ["seed=3", "seed=4"],
        ["study.name=x", "+study.axes.lam=[0.1]", '+study.arms.a=["seed=1"]'],
        ["threads=2", "threads=null"],
        ["layers=top2", "layers.spec=0-1"],
    ],
)
def test_words_of_every_kind_are_what_hydra_makes_of_them(words):
    with Composer() as composer:
        first = composer.unchecked([]).config
        config = composer.unchecked(words).config
        assert composer.unchecked([]).config == first and isinstance(first.calibration, Calibration)
        assert composer.unchecked(words).config == config
    assert config == composed(words)[0]


@pytest.mark.parametrize("wrong", ["seed=x", "lam=high", "seeed=1", "model.widths=1", "data.limit=[1]"])
def test_a_word_that_is_refused_leaves_nothing_behind(wrong):
    with Composer() as composer:
        first = composer.unchecked([]).config
        with pytest.raises(ConfigError):
            composer.unchecked(["lam=0.3", "calibration.limit=3", wrong, "device=cpu"])
        assert composer.unchecked([]).config == first


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, ...]]:
    """The words of every time that Hydra composed."""
    calls: list[tuple[str, ...]] = []

    whole = Composer.composed

    def counting(self: Composer, words: Sequence[str]) -> object:
        calls.append(tuple(words))
        return whole(self, words)

    monkeypatch.setattr(Composer, "composed", counting)
    monkeypatch.setattr(Composer, "_bases_of_mam", {})  # which a process keeps
    return calls


def test_a_study_of_thirty_asks_hydra_a_few_times(asked):
    axes = ["+study.axes.lam=[0.1,0.2,0.3]", "+study.axes.seed=[0,1,2,3,4]", "+study.axes.parts=[qk,qkv]"]
    (study,) = jobs(["study.name=x", *axes, "control=none"])
    assert len(study_jobs(study)) == 30
    assert len(asked) <= 4 and len(set(asked)) <= 2


def test_a_study_of_files_asks_hydra_once_for_each_choice_of_them(asked):
    (study,) = jobs(["study.name=x", "+study.axes.method=[linear,slerp]", "+study.axes.lam=[0.1,0.2,0.3]"])
    del asked[:]
    assert len(study_jobs(study)) == 12
    assert sum("method=slerp" in words for words in asked) == sum("method=linear" in words for words in asked) == 1


def test_a_sweep_asks_hydra_once_for_each_choice_of_files(asked):
    assert len(jobs(["lam=0.1,0.2,0.3,0.4,0.5", "seed=0,1,2", "control=none"], multirun=True)) == 18
    assert len(asked) == 1
