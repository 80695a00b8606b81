"""``layers=top3`` and its like, for which there is no file, are the selection that they say."""

from __future__ import annotations

import json
import re
import shlex
from importlib import import_module

import pytest
from support.runs import jobs, mam

from mam.config.command import command_of
from mam.config.studies import study_jobs
from mam.errors import ConfigError


@pytest.mark.parametrize("spec", ["top3", "top1", "bottom2", "middle2", "0-1", "2"])
def test_a_selection_needs_no_file(spec):
    (job,) = jobs([f"layers={spec}"])
    (said,) = jobs([f"layers.spec={spec}"])
    assert job.config.layers.spec == spec and job.signature == said.signature
    (again,) = jobs(shlex.split(command_of(job))[2:])
    assert again.signature == job.signature


def test_the_command_line_takes_it(capsys):
    assert import_module("mam.verbs.inspect").main(["layers=top3", "lam=0.2", "--json"]) == 0
    inspected = json.loads(capsys.readouterr().out)
    assert inspected["lam"] == [0, 0.2, 0.2, 0.2]
    shown = mam("run", "--cfg", "job", "layers=top3")
    assert shown.returncode == 0 and "spec: top3" in shown.stdout, shown.stderr


@pytest.mark.parametrize(
    "value, specs",
    [
        ("all,top4", ["all", "top4"]),
        ("top2,top3,all", ["top2", "top3", "all"]),
        ("top3,bottom1", ["top3", "bottom1"]),
        ("all,top2", ["all", "top2"]),
    ],
)
def test_a_sweep_over_them(value, specs):
    plan = jobs([f"layers={value}", "control=none"], multirun=True)
    assert [job.config.layers.spec for job in plan] == specs
    assert len({job.signature for job in plan}) == len(specs)
    by_key = jobs([f"layers.spec={value}", "control=none"], multirun=True)
    assert [job.signature for job in by_key] == [job.signature for job in plan]


def test_studies_over_them_and_under_them():
    (study,) = jobs(["experiment=lambda_grid", "layers=top3"])
    assert {job.config.layers.spec for job in study_jobs(study)} == {"top3"}
    (study,) = jobs(["study.name=x", "+study.axes.layers=[all,top3,bottom2]", "control=none"])
    assert [job.config.layers.spec for job in study_jobs(study)] == ["all", "top3", "bottom2"]
    (study,) = jobs(["study.name=x", '+study.arms.a=["layers=top3"]', '+study.arms.b=["layers=top2"]', "control=none"])
    assert [job.config.layers.spec for job in study_jobs(study)] == ["top3", "top2"]


@pytest.mark.parametrize("word", ["layers=zzz", "layers=top", "layers=topmost3"])
def test_what_is_no_selection_is_refused_with_the_choices(word):
    with pytest.raises(ConfigError) as caught:
        jobs([word])
    (problem,) = caught.value.problems
    assert re.match(rf"{word}: not known\.( Did you mean: top6, top2\?)? Choose one of:\n      all ", problem)


def test_a_selection_that_the_target_does_not_have_is_refused():
    for word in ("layers=top9", "layers=top0"):
        with pytest.raises(ConfigError, match=r"layers\.spec=top\d: the target has 4 layers"):
            jobs([word])
    with pytest.raises(ConfigError) as caught:
        jobs(["layers=top3,zzz", "control=none"], multirun=True)
    (problem,) = caught.value.problems
    assert re.match(r"layers(\.spec)?=zzz: ", problem), "the one that is wrong"
