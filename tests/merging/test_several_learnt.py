"""A λ of each of several sources: its gradients, its bounds, learnt in a training and from Python, chosen on dev."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.models import LAYERS
from support.runs import once
from support.several import by_hand
from transformers import HubertForCTC

import mam as package
from mam.config.several import keys_of
from mam.errors import MergeError
from mam.merging.lambdas import RULES, Lambdas
from mam.merging.learnable import MIXES
from mam.merging.options import MergeOptions
from mam.merging.plan import plan_merge
from mam.merging.shape import Shape
from mam.report.lambdas import lambdas_figure
from mam.runs.export import export

SHAPE = Shape(4, 32, 4)


@pytest.mark.parametrize("method", MIXES)
def test_gradients_agree_with_finite_differences(method):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(3, 4, dtype=torch.float64, generator=generator) for _ in range(3)]
    lams = [torch.rand((3, 1), dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2)]
    inputs = tensors[0].requires_grad_(), tensors[1], lams[0], tensors[2], lams[1]
    assert torch.autograd.gradcheck(MIXES[method].apply, inputs)
    added = lams[0] * tensors[1] + lams[1] * tensors[2]
    rest = 1 - lams[0] - lams[1] if method == "linear" else 1.0
    torch.testing.assert_close(MIXES[method].apply(*inputs), rest * tensors[0] + added)


@given(st.lists(st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_clamp_is_the_nearest_point_whose_lam_add_up_to_one_at_most(rows):
    """Against scipy's solution of the same quadratic programme."""
    from scipy.optimize import minimize

    raw = torch.tensor(rows)
    found = RULES["clamp"].project(raw)
    assert bool((found >= 0).all()) and bool((found.sum(-1) <= 1 + 1e-6).all())
    for row, near in zip(raw.double().numpy(), found.double().numpy(), strict=True):
        best = minimize(
            lambda lam, row=row: ((lam - row) ** 2).sum(),
            x0=[0.2] * 3,
            jac=lambda lam, row=row: 2 * (lam - row),
            bounds=[(0, 1)] * 3,
            constraints={"type": "ineq", "fun": lambda lam: 1 - lam.sum()},
            method="SLSQP",
        )
        assert ((near - row) ** 2).sum() <= best.fun + 1e-4


def test_sigmoid_of_several_sources_and_its_inverse():
    rule, lams = RULES["sigmoid"], torch.tensor([[0.2, 0.3], [0.05, 0.9]])
    torch.testing.assert_close(rule.lam(rule.raw(lams)), lams)
    torch.testing.assert_close(rule.lam(torch.zeros(1, 2)), torch.tensor([[1 / 3, 1 / 3]]))
    assert not rule.holds([0.5, 0.5]) and rule.holds([0.5, 0.4])


@pytest.mark.parametrize(("per", "names"), [("global", 2), ("layer", 8), ("part", 24), ("head", 96)])
def test_every_source_has_a_lam_of_its_own(per, names):
    plan = plan_merge(MergeOptions(lam=0.4, shares=[3, 1]), SHAPE, SHAPE, further=[SHAPE])
    lambdas = Lambdas(plan, per, "none")
    assert len(lambdas.names) == names
    assert {name.partition(":")[0] for name in lambdas.names} == {"1", "2"}
    assert lambdas.by_source(plan) == pytest.approx([0.3] * 4 + [0.1] * 4)
    with pytest.raises(MergeError, match="lam=1: must be between"):
        Lambdas(plan.at([0.75] * 4 + [0.25] * 4), per, "sigmoid")


def test_lmam_learns_both_and_its_export_says_the_same(several, lesson, other, bert, tmp_path):
    words = [*lesson, f"model.sources=[{bert},{other}]", "train=lmam", "lam=[0.3,0.1]", "train.save_model=true"]
    outcome = once([*words, "train.lam.learning_rate=0.05"])
    merge, (training,) = outcome.result.merge, outcome.result.train.folds
    assert training.lams_by_source == pytest.approx(merge.lams_by_source)
    moved = [abs(lam - start) for lam, start in zip(merge.lams_by_source, [0.3] * LAYERS + [0.1] * LAYERS, strict=True)]
    assert min(moved) > 1e-4
    with (outcome.folder / "lambda.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["source"] for row in rows} == {"1", "2"}
    left, right = lambdas_figure(outcome.folder, outcome.result).axes
    drawn = {line.get_label() for line in left.lines}
    assert {"source 1, layer 0", "source 2, layer 0"} <= drawn
    assert "learnt, sum of the sources" in {line.get_label() for line in right.lines}
    export(outcome.folder, tmp_path / "out")
    untrained = [word for word in lesson if not word.startswith("train")]
    plain = once([*untrained, f"model.target={tmp_path / 'out'}", "lam=0"])
    assert (plain.folder / "predictions.jsonl").read_bytes() == (outcome.folder / "predictions.jsonl").read_bytes()


@pytest.mark.parametrize("tune", ["cmaes", "grid", "entropy"])
def test_lam_is_chosen_for_both(several, bert, other, split_words, tune, tmp_path):
    words = [*split_words, f"model.sources=[{bert},{other}]", f"tune={tune}"]
    more = {
        "cmaes": ["tune.evaluations=8", "tune.high=0.9", "tune.start=0.6"],
        "grid": ["tune.values=[0.1,0.4]", "shares=[3,1]"],
        "entropy": ["tune.epochs=1", "tune.start=0.4", "shares=[3,1]"],
    }[tune]
    outcome = once([*words, *more])
    merge, (chosen,) = outcome.result.merge, outcome.result.tune.chosen
    assert max(merge.lam) <= 1 + 1e-12
    if chosen.lams is not None:
        assert chosen.lams == pytest.approx(merge.lams_by_source)
        assert chosen.lam == pytest.approx(sum(merge.lam) / LAYERS)
    if tune == "grid":
        assert merge.lams_by_source[0] == pytest.approx(3 * merge.lams_by_source[-1])
    export(outcome.folder, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "mam_merge.json").read_text())
    assert [lam for lams in record["lam_by_source"] for lam in lams] == merge.lams_by_source


def test_learnable_from_python(hubert_group, bert, other):
    model = HubertForCTC.from_pretrained(hubert_group)
    handle = package.learnable(model, [bert, other], lam=[0.3, 0.1], per="global")
    assert handle.lambdas() == pytest.approx({"1:all": 0.3, "2:all": 0.1})
    linear = model.hubert.encoder.layers[0].attention.q_proj
    torch.testing.assert_close(linear.weight.detach(), by_hand(hubert_group, {bert: 0.3, other: 0.1})[0])
    with torch.no_grad():
        handle.parameters()[0].copy_(torch.tensor([0.9, 0.7]))
    model(torch.zeros(1, 8000))
    assert handle.lambdas() == pytest.approx({"1:all": 0.6, "2:all": 0.4})
    handle.fold()


@pytest.mark.parametrize("lams", [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [1 / 3, 1 / 3, 1 / 3], [0.15, 0.35, 0.5]])
def test_lam_that_add_up_to_one_may_start_there(lams):
    (_, total), (_, shares) = keys_of("lam", lams)
    plan = plan_merge(MergeOptions(lam=total, shares=shares), SHAPE, SHAPE, further=[SHAPE, SHAPE])
    assert Lambdas(plan).by_source(plan) == pytest.approx([lam for lam in lams for _ in range(4)])
