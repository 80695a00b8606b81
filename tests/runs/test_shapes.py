"""Shapes that are left out are read from the checkpoints; stated ones are checked against them."""

from __future__ import annotations

import json

import pytest
from support.models import HEADS, LAYERS, SOURCE_LAYERS, WIDTH, make_bert
from support.runs import jobs, mam

from mam.config.model import shapes
from mam.errors import CheckpointError, ConfigError
from mam.evaluation.workbench import Workbench
from mam.merging.shape import Shape
from mam.models.sources import Source
from mam.runs.question import RunOutcome
from mam.runs.run import run
from mam.runs.shapes import plan_with_shapes, with_shapes

LEFT_OUT = [f"model.{side}_shape.{key}=null" for side in ("target", "source") for key in ("layers", "width", "heads")]


@pytest.fixture
def untold(words) -> list[str]:
    """The words of the tiny pair without shapes."""
    return [word for word in words if "_shape." not in word] + LEFT_OUT


def ran(words: list[str]) -> RunOutcome:
    return run(with_shapes(jobs(words))[0], Workbench())


def test_a_run_without_shapes_is_the_run_with_them(words, untold):
    stated, untold_run = ran([*words, "lam=0.4"]), ran([*untold, "lam=0.4"])
    assert (untold_run.status, untold_run.folder) == ("skipped", stated.folder), "the same question"
    again = ran([*untold, "lam=0.4", "outputs=elsewhere"])
    assert again.result.hash == stated.result.hash and again.result.signature == stated.result.signature
    for name in ("predictions.jsonl", "baseline.jsonl", "lambda.csv"):
        assert (again.folder / name).read_bytes() == (stated.folder / name).read_bytes()


def test_what_is_filled_in_is_what_the_checkpoints_have(words, untold):
    (job,) = with_shapes(jobs([*untold, "lam=0.4"]))
    assert shapes(job.config.model) == (Shape(LAYERS, WIDTH, HEADS), Shape(SOURCE_LAYERS, WIDTH, HEADS))
    (stated,) = jobs([*words, "lam=0.4"])
    assert with_shapes([stated]) == [stated] and job.signature == stated.signature


@pytest.mark.parametrize("others", [[], LEFT_OUT])
@pytest.mark.parametrize(
    "word, message",
    [
        ("model.target_shape.heads=2", r"model\.target=.*: has heads 4, not 2 as configured\. .*_shape\.heads=4"),
        ("model.source_shape.layers=5", r"model\.source=.*: has layers 4, not 5 as configured"),
        ("model.source_shape.width=64", r"model\.source=.*: has width 32, not 64 as configured"),
    ],
)
def test_a_wrong_stated_shape_is_refused_whatever_else_is_stated(words, others, word, message):
    project = ["on_mismatch=project"] if "width" in word else []
    with pytest.raises(CheckpointError, match=message):
        ran([*words, *others, *project, word])


@pytest.mark.parametrize(
    "word, message",
    [
        ("layers.spec=0-5", r"no layer"),
        ("layers=top7", r"layers\.spec=top7: the target has 3 layers"),
        ("heads=9", r"heads=9"),
        ("schedule=list", "schedule.values: has 0 numbers, but the target has"),
    ],
)
def test_what_does_not_fit_is_refused_once_the_shapes_are_known(untold, word, message):
    with pytest.raises(ConfigError, match=message):
        with_shapes(jobs([*untold, word]))


def test_widths_that_differ_are_refused_once_they_are_known(untold, tmp_path):
    source = make_bert(tmp_path / "narrow", width=WIDTH // 2)
    with pytest.raises(ConfigError, match=f"the width of the target is {WIDTH}, that of the source is {WIDTH // 2}"):
        with_shapes(jobs([*untold, f"model.source={source}"]))


def test_each_checkpoint_is_opened_once_for_a_plan(untold, monkeypatch):
    opened = []
    real = Source.__init__
    monkeypatch.setattr(Source, "__init__", lambda self, *given: opened.append(1) or real(self, *given))
    assert len(with_shapes(jobs([*untold, "lam=0.1,0.2,0.3", "control=none"], multirun=True))) == 4
    assert len(opened) == 2


def test_the_verbs_need_no_shapes(untold):
    pair = [word for word in untold if word.startswith("model")]
    inspected = json.loads(mam("inspect", *pair, "lam=0.3", "--json").stdout)
    assert (inspected["target"]["layers"], inspected["lam"]) == (LAYERS, [0.3] * LAYERS)
    merged = mam("merge", *pair, "lam=0.3", "out=merged")
    assert merged.returncode == 0 and merged.stdout.startswith("merged 18 tensors"), merged.stderr
    swept = mam("run", "--multirun", *untold, "lam=0,0.3", "control=none")
    assert swept.returncode == 0 and "2 runs: 2 finished now" in swept.stdout, swept.stderr
    study = mam("run", *untold, "experiment=ablation_layers", "evaluate.draws=200")
    # Each layer alone, the top two, all, the bottom two; each with shrink beside it.
    assert study.returncode == 0 and "12 runs: 12 finished now" in study.stdout, study.stderr


def test_controls_beside_a_schedule_whose_depth_is_not_known_yet():
    """Whether lines merge anything is known with the depth; until then no control is taken for an empty one."""
    words = ["schedule=lines", "seed=0,1", "model.target_shape.layers=null"]
    controls = [job.config.control for job in plan_with_shapes(jobs(words, multirun=True))]
    assert sorted(controls) == ["none", "none", "shrink", "shrink"]
    nothing = [*words, "schedule.beta=0", "control=shrink"]
    with pytest.raises(
        ConfigError,
        match=("there is nothing to run: all runs are controls at λ=0, which equal the baseline"),
    ):
        plan_with_shapes(jobs(nothing, multirun=True))
