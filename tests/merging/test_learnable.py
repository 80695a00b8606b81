"""λ as a parameter: the effective weight, its gradients, what is shared, where it may go, and that it folds away."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.audio import noise
from support.models import HEADS, LAYERS, WIDTH
from support.runs import jobs, pair_words, plan_of

from mam.errors import MergeError
from mam.merging.lambdas import RULES, Lambdas
from mam.merging.learnable import MIXES, fold, learn
from mam.merging.merger import Merger
from mam.merging.methods import MERGES, LayerSide
from mam.merging.tables import CONSTRAINTS, METHODS, PER
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source


def learnt(hubert, bert, *words, per="layer", constraint="clamp"):
    (job,) = jobs([*pair_words(hubert, bert), *words])
    target = load_target(locate(str(hubert)))
    plan = plan_of(job.config)
    merger = Merger(target.blocks, Source(locate(str(bert))).read)
    lambdas = Lambdas(plan, per, constraint)
    return target, merger, plan, lambdas


def logits(target):
    return target.logits(target.advance(target.front([noise(0.7, 1)]), 0, LAYERS))[0]


@pytest.mark.parametrize("shape", [(), (3, 1), (1, 4)])
@pytest.mark.parametrize("method", MIXES)
def test_gradients_agree_with_finite_differences(shape, method):
    generator = torch.Generator().manual_seed(0)
    target, source = (torch.randn(3, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    lam = torch.rand(shape, dtype=torch.float64, generator=generator)
    inputs = target.requires_grad_(), source, lam.requires_grad_()
    assert torch.autograd.gradcheck(MIXES[method].apply, inputs)
    expected = (1 - lam) * target + lam * source if method == "linear" else target + lam * source
    torch.testing.assert_close(MIXES[method].apply(*inputs), expected)


def test_what_can_be_learnt_has_its_gradient_and_mixes_as_the_method_does(hubert_group, bert):
    assert set(MIXES) == {name for name, traits in METHODS.items() if traits.is_learnable}
    (one, other), lam = torch.randn(2, 3, 3).unbind(), torch.tensor(0.3)
    for name, mix in MIXES.items():
        sides = (LayerSide({"q": (tensor, None)}) for tensor in (one, other))
        torch.testing.assert_close(mix.apply(one, other, lam), MERGES[name](*sides, 0.3)["q"][0])


def test_reparam_is_learnt_from_zero(hubert_group, bert):
    """At λ=0 it is the target, and the first gradient of λ is that of adding the source; folded it is W_t + λ W_s."""
    target, merger, plan, lambdas = learnt(hubert_group, bert, "lam=0", "method=reparam", constraint="none")
    learn(target.blocks, plan, merger.sources(plan), lambdas)
    plain = load_target(locate(str(hubert_group)))
    assert torch.equal(target.blocks[0].q.weight, plain.blocks[0].q.weight)
    target.blocks[0].q.weight.sum().backward()
    source = Source(locate(str(bert)))
    assert lambdas.raw.grad[0].item() == pytest.approx(float(source.read(0, "q")[0].sum()), rel=1e-4)
    with torch.no_grad():
        lambdas.raw.fill_(0.5)
    fold(target.blocks)
    torch.testing.assert_close(target.blocks[0].q.weight, plain.blocks[0].q.weight + 0.5 * source.read(0, "q")[0])


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_at_its_start_it_is_the_fixed_merge_and_folds_into_a_plain_model(hubert_group, bert, per, constraint):
    target, merger, plan, lambdas = learnt(hubert_group, bert, "lam=0.3", per=per, constraint=constraint)
    merger.apply(plan)
    expected = logits(target)
    merger.restore()
    plain = dict(target.model.named_parameters())
    learn(target.blocks, plan, merger.sources(plan), lambdas)
    with torch.no_grad():
        parametrised = logits(target)
    torch.testing.assert_close(parametrised, expected.detach(), atol=1e-5, rtol=1e-5)
    fold(target.blocks)
    assert set(dict(target.model.named_parameters())) == set(plain)
    assert torch.equal(logits(target).detach(), parametrised)


@pytest.mark.parametrize(("per", "count"), [("global", 1), ("layer", 2), ("part", 4), ("head", 4 * HEADS)])
def test_what_is_shared_and_that_every_lambda_is_pulled_by_the_loss(hubert_group, bert, per, count):
    target, merger, plan, lambdas = learnt(hubert_group, bert, "layers=top2", "parts=qv", "lam=0.2", per=per)
    assert len(lambdas.names) == count and list(lambdas.as_dict().values()) == pytest.approx([0.2] * count)
    learn(target.blocks, plan, merger.sources(plan), lambdas)
    logits(target).square().sum().backward()
    assert lambdas.raw.grad is not None and bool((lambdas.raw.grad != 0).all())
    block = target.blocks[2]
    assert block.q.parametrizations.weight.original.grad.abs().sum() > 0
    assert block.q.parametrizations.weight[0].source.grad is None
    names = [name for name, _ in target.model.named_buffers() if name.endswith("source")]
    assert not any(name in target.model.state_dict() for name in names) and len(names) == 8  # weights and biases


def test_heads_that_are_not_chosen_stay_the_targets(hubert_group, bert):
    for per in ("layer", "head"):
        target, merger, plan, lambdas = learnt(hubert_group, bert, "heads=1", "lam=0.5", "parts=qo", per=per)
        own = {part: target.blocks[0].projection(part).weight.detach().clone() for part in "qo"}
        sources = merger.sources(plan)
        learn(target.blocks, plan, sources, lambdas)
        fold(target.blocks)
        width = WIDTH // HEADS
        rows = slice(width, 2 * width)
        for part in "qo":
            expected = own[part].clone()
            of_head = (slice(None), rows) if part == "o" else (rows, slice(None))
            expected[of_head] = 0.5 * own[part][of_head] + 0.5 * sources[0, part][0][0][of_head]
            torch.testing.assert_close(target.blocks[0].projection(part).weight.detach(), expected)


@given(st.floats(0.01, 0.99))
def test_constraints_start_where_they_should(lam):
    for constraint in RULES.values():
        assert constraint.lam(constraint.raw(torch.tensor([lam]))).item() == pytest.approx(lam, abs=1e-6)


def test_bounds(hubert_group, bert):
    _, _, _, lambdas = learnt(hubert_group, bert, "lam=0.1")
    with torch.no_grad():
        lambdas.raw.copy_(torch.tensor([-0.3, 0.4, 1.7]))
    lambdas.project()
    assert lambdas.values.tolist() == pytest.approx([0.0, 0.4, 1.0])
    assert lambdas.pull().item() == pytest.approx(0.1**2 + 0.3**2 + 0.9**2)
    assert RULES["tanh"].raw(torch.tensor(0.5)).item() == pytest.approx(math.atanh(0.5))
    for constraint in ("sigmoid", "tanh"):
        with pytest.raises(MergeError, match=rf"lam=1: must be between .* with train.lam.constraint={constraint}"):
            learnt(hubert_group, bert, "lam=1", constraint=constraint)
    with pytest.raises(MergeError, match="gives more than one initial λ. Set schedule=constant"):
        learnt(hubert_group, bert, "schedule=linear", "lam=0.2", per="global")


def test_a_control_takes_the_sources_place(hubert_group, bert):
    target, merger, plan, _ = learnt(hubert_group, bert, "control=shrink", "lam=0.3")
    assert all(not weight.any() and not bias.any() for ((weight, bias),) in merger.sources(plan).values())
    _, merger, plan, _ = learnt(hubert_group, bert, "control=random_iid", "lam=0.3")
    own = merger.sources(plan)[0, "q"][0][0]
    (real,) = [Source(locate(str(bert))).read(0, "q")[0]]
    assert own.std(correction=0).item() == pytest.approx(real.std(correction=0).item(), rel=0.1)
    assert not torch.allclose(own, real)
    assert target.depth == LAYERS
