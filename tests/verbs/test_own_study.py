"""A study of one's own from its words to `study.json`: what is compared with what is what its keys say."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

OWN = [
    "study.name=own",
    "study.reference=base",
    "train=finetune",
    "+study.axes.seed=[0,1]",
    '+study.arms.base=["train=finetune","lam=0.2"]',
    '+study.arms.mine=["train=finetune","lam=0.6"]',
    '+study.arms.FT=["train=finetune","lam=0"]',
    "control=none",
    "train.save_model=false",
]


@pytest.fixture
def study(lesson, capsys) -> tuple[dict, str]:
    """What the study left in its folder, and what it said."""
    assert import_module("mam.verbs.run").main([*lesson, *OWN]) == 0
    (path,) = Path("outputs").rglob("study.json")
    assert path.parent.name.endswith("-own")
    return json.loads(path.read_text()), capsys.readouterr().out


def test_every_arm_is_compared_with_the_reference_and_no_other(study):
    content, said = study
    assert len(content["runs"]) == 6 and all("folder" in run for run in content["runs"])
    pairs = [(one["arm"], one["other"]) for one in content["versus"]]
    assert pairs == [("mine", "base"), ("FT", "base")], "no arm is special for its name"
    assert [len(one["seeds"]) for one in content["versus"]] == [2, 2]
    assert "6 runs: 6 finished now" in said and "too few seeds" in said


def test_without_a_reference_nothing_is_compared(lesson, capsys):
    words = [word for word in OWN if not word.startswith(("study.reference", "+study.axes"))]
    assert import_module("mam.verbs.run").main([*lesson, *words]) == 0
    (path,) = Path("outputs").rglob("study.json")
    assert json.loads(path.read_text())["versus"] == []
