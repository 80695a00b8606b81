"""Each method against its formula by hand or by another implementation, and that none is another in disguise."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp
from support.encoder import random_source, small_encoder
from support.plans import plan_by_hand

from mam.errors import MergeError
from mam.merging.activations import Moments
from mam.merging.merger import Merger
from mam.merging.methods import MERGES, LayerSide, Projection, linear, norm_matched, product_factors, slerp
from mam.merging.mixing import effect, merged_layer
from mam.merging.options import MethodOptions
from mam.merging.plan import MergePlan
from mam.merging.shape import Shape
from mam.merging.tables import CONTROLS, METHODS
from mam.models.blocks import find_blocks

D, HEADS = 8, 2
EXACT = MethodOptions(alpha=1.0)  # with the moments as they are
LINEAR = re.escape(METHODS["linear"].summary.rstrip("."))


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_layer(**fields) -> MergePlan:
    """λ=0.3 in a target of one layer."""
    return plan_by_hand(Shape(1, D, HEADS), lams=(0.3,), **fields)


def layer(seed: int, biased: bool = True, **fields) -> LayerSide:
    parts = {
        part: (numbers(D, D, seed=10 * seed + i), numbers(D, seed=10 * seed + 5 + i) if biased else None)
        for i, part in enumerate("qkv")
    }
    x = numbers(50, D, seed=seed + 100).double() @ numbers(D, D, seed=seed + 7).double()
    moments = dict.fromkeys("qkv", x.T @ x / len(x))
    return LayerSide(parts, HEADS, D // HEADS, moments, **fields)


def each(parts: Mapping[str, Projection]) -> dict[str, tuple[Projection]]:
    """The projections of the only source."""
    return {part: (projection,) for part, projection in parts.items()}


def logits(side: LayerSide, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """q·k of every head, ``[h, t, t]``, fp64."""
    q, k = (
        torch.nn.functional.linear(x, *(None if one is None else one.double() for one in side.parts[part]))
        for part in "qk"
    )
    q, k = (one.view(len(x), side.heads, -1).transpose(0, 1) for one in (q, k))
    return scale * q @ k.transpose(-1, -2)


def test_slerp_by_hand():
    """At a right angle: cos and sin of 45° at λ=½, so that two tensors of length 1 keep length 1."""
    target, source = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    half = math.sqrt(0.5)
    torch.testing.assert_close(slerp(target, source, 0.5), torch.tensor([[half, 0.0], [0.0, half]]))
    # 60° between (1, 0) and (½, √3/2): λ=⅓ turns by 20°.
    turned = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.5, math.sqrt(0.75)]), 1 / 3)
    torch.testing.assert_close(turned, torch.tensor([math.cos(math.pi / 9), math.sin(math.pi / 9)]))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_slerp_of_unit_quaternions_is_scipys(seed, lam):
    a, b = (one / one.norm() for one in numbers(2, 4, seed=seed).double())
    b = b if float(a @ b) > 0 else -b  # scipy takes the shorter way between rotations
    expected = Slerp([0, 1], Rotation.from_quat(np.stack([a, b])))(lam).as_quat()
    found = slerp(a, b, lam).numpy()
    np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-6)


@pytest.mark.parametrize("source", [[[0.0, 0.0]], [[2.0, 4.0]], [[-1.0, -2.0]]])
def test_slerp_without_an_angle_is_linear(source):
    target, other = torch.tensor([[1.0, 2.0]]), torch.tensor(source)
    torch.testing.assert_close(slerp(target, other, 0.3), linear(target, other, 0.3))


def test_norm_matched_by_hand():
    """‖(3, 4)‖ is 5 and ‖(0, 10)‖ is 10: half the source is mixed in."""
    assert norm_matched(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 10.0]), 0.2).tolist() == pytest.approx([2.4, 4.2])
    assert norm_matched(torch.tensor([3.0, 4.0]), torch.zeros(2), 0.5).tolist() == [1.5, 2.0]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.01, 1.0), st.floats(0.01, 100.0))
def test_norm_matched_does_not_see_the_size_of_the_source(seed, lam, size):
    target, source = numbers(2, D, D, seed=seed)
    torch.testing.assert_close(
        norm_matched(target, size * source, lam), norm_matched(target, source, lam), rtol=1e-4, atol=1e-5
    )
    assert norm_matched(target, source, 1.0).norm() == pytest.approx(float(target.norm()), rel=1e-5)


def test_regmean_by_hand():
    """Diagonal moments, so that every input has a λ of its own: (½·1·1 + ½·3·3)/(½·1 + ½·3) = 2.5."""
    sides = []
    for value, moment in ((1.0, 1.0), (3.0, 3.0)):
        moments = {"q": torch.diag(torch.tensor([moment, 1.0], dtype=torch.float64))}
        sides.append(
            LayerSide({"q": (torch.full((2, 2), value), torch.full((2,), value))}, moments=moments, options=EXACT)
        )
    weight, bias = MERGES["regmean"](*sides, 0.5)["q"]
    torch.testing.assert_close(weight, torch.tensor([[2.5, 2.0], [2.5, 2.0]]))
    assert bias.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("lam", [0.1, 0.5])
def test_regmean_is_the_least_squares_solution(lam):
    """numpy's solution of the stacked problem: rows √(1-λ) x_t with answers W_t x_t, rows √λ x_s with W_s x_s."""
    inputs = [numbers(40, D, seed=seed).double() @ numbers(D, D, seed=seed + 9).double() for seed in (1, 2)]
    weights = [numbers(D, D, seed=seed) for seed in (3, 4)]
    shares = (1 - lam, lam)
    rows = torch.cat([(c / len(x)) ** 0.5 * x for c, x in zip(shares, inputs, strict=True)])
    answers = torch.cat(
        [(c / len(x)) ** 0.5 * x @ w.double().T for c, x, w in zip(shares, inputs, weights, strict=True)]
    )
    expected = np.linalg.lstsq(rows.numpy(), answers.numpy(), rcond=None)[0].T
    sides = [
        LayerSide({"v": (w, None)}, moments={"v": x.T @ x / len(x)}, options=EXACT)
        for w, x in zip(weights, inputs, strict=True)
    ]
    np.testing.assert_allclose(MERGES["regmean"](*sides, lam)["v"][0].numpy(), expected, atol=1e-4)


def test_regmean_with_an_input_that_nobody_heard_is_finite():
    moments = {"q": torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))}
    sides = [LayerSide({"q": (numbers(2, 2, seed=i), None)}, moments=moments, options=EXACT) for i in range(2)]
    weight = MERGES["regmean"](*sides, 0.5)["q"][0]
    torch.testing.assert_close(weight[:, 0], (sides[0].parts["q"][0] + sides[1].parts["q"][0])[:, 0] / 2)
    assert weight[:, 1].abs().max() < 1e-6


def test_regmean_on_equal_uncorrelated_inputs_is_linear():
    sides = [layer(seed, options=MethodOptions(alpha=0.0)) for seed in (1, 2)]
    sides[1] = LayerSide(sides[1].parts, HEADS, D // HEADS, sides[0].moments, MethodOptions(alpha=0.0))
    merged = MERGES["regmean"](*sides, 0.3)
    for part, (weight, bias) in merged.items():
        (own, own_bias), (other, other_bias) = (side.parts[part] for side in sides)
        torch.testing.assert_close(weight, linear(own, other, 0.3), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(bias, linear(own_bias, other_bias, 0.3))


def test_qk_product_by_hand():
    """One head of width 1, M_t = diag(4, 0) and M_s = diag(0, 2): at λ=¼ diag(3, ½), of which rank 1 is diag(3, 0)."""

    def side(q, k):
        parts = {"q": (torch.tensor([q]), None), "k": (torch.tensor([k]), None)}
        return LayerSide(parts)

    made = MERGES["qk_product"](side([2.0, 0.0], [2.0, 0.0]), side([0.0, 1.0], [0.0, 2.0]), 0.25)
    product = made["q"][0].T @ made["k"][0]
    torch.testing.assert_close(product, torch.tensor([[3.0, 0.0], [0.0, 0.0]]))


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_qk_product_keeps_what_every_head_computes_at_both_ends(lam):
    target, source, x = layer(1), layer(2), numbers(5, D, seed=3).double()
    merged = LayerSide(MERGES["qk_product"](target, source, lam), HEADS)
    expected = logits(target if lam == 0 else source, x)
    torch.testing.assert_close(logits(merged, x), expected, rtol=1e-4, atol=1e-3)


def test_qk_product_is_the_best_of_its_rank():
    """numpy's SVD of the whole (d+1) × (d+1) matrix, cut after d_h, head by head."""
    target, source, lam = layer(1), layer(2), 0.4
    merged = MERGES["qk_product"](target, source, lam)
    size = D // HEADS

    def product(parts, head):
        rows = slice(head * size, (head + 1) * size)
        q, k = (torch.cat([parts[p][0], parts[p][1][:, None]], 1)[rows].double() for p in "qk")
        return (q.T @ k).numpy()

    for head in range(HEADS):
        wanted = (1 - lam) * product(target.parts, head) + lam * product(source.parts, head)
        u, s, vh = np.linalg.svd(wanted)
        np.testing.assert_allclose(product(merged, head), (u[:, :size] * s[:size]) @ vh[:size], atol=1e-4)


def test_qk_product_rescales_for_the_size_of_heads():
    """Logits are divided by √d_h: what a source of d_h 16 says weighs half as much in a target of 4."""
    target = layer(1)
    source = LayerSide(layer(2).parts, HEADS, 4 * D // HEADS)
    x = numbers(5, D, seed=3).double()
    merged = LayerSide(MERGES["qk_product"](target, source, 1.0), HEADS)
    torch.testing.assert_close(logits(merged, x), logits(source, x, 0.5), rtol=1e-4, atol=1e-3)


def test_product_factors_of_fewer_inputs_than_rank():
    q, k = numbers(4, 2).double(), numbers(4, 2, seed=1).double()
    made_q, made_k = product_factors([(1.0, q, k)], 4)
    assert made_q.shape == made_k.shape == (4, 2)
    torch.testing.assert_close(made_q.T @ made_k, q.T @ k)


def test_qk_product_without_key_bias_differs_by_what_softmax_cancels():
    target = layer(1)
    parts = {**target.parts, "k": (target.parts["k"][0], None)}
    plan = one_layer(method="qk_product", parts="qk")
    made = merged_layer(plan, 0, parts, each(layer(2).parts))
    notes = effect(plan, 0, "k", parts["k"], (layer(2).parts["k"],)).notes
    assert made["k"][1] is None and any("K bias is dropped" in note for note in notes)
    with_bias = LayerSide({**parts, "k": (parts["k"][0], torch.zeros(D))}, HEADS, D // HEADS)
    source = LayerSide({**layer(2).parts, "k": (layer(2).parts["k"][0], torch.zeros(D))}, HEADS, D // HEADS)
    x = numbers(5, D, seed=3).double()
    expected = logits(LayerSide(MERGES["qk_product"](with_bias, source, 0.3), HEADS), x).softmax(-1)
    torch.testing.assert_close(logits(LayerSide(made, HEADS), x).softmax(-1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "linear"])
def test_every_method_differs_from_linear(name):
    target, source = layer(1, options=MethodOptions(alpha=0.9)), layer(2, options=MethodOptions(alpha=0.9))
    merged = MERGES[name](target, source, 0.3)
    part = "q"
    plain = linear(target.parts[part][0], source.parts[part][0], 0.3)
    assert (merged[part][0] - plain).abs().max() > 1e-2
    assert set(merged) == set(target.parts) and all(tensor.dtype == torch.float32 for tensor in merged[part])


@pytest.mark.parametrize("control", [name for name in CONTROLS if CONTROLS[name].layers == "paired"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_every_control(name, control):
    if METHODS[name].joins_qk and CONTROLS[control].parts == "v":
        return
    parts = tuple(part for part in "qkv" if part in CONTROLS[control].parts)
    plan = one_layer(method=name, control=control, parts=parts)
    target, source = layer(1), layer(2)
    made = merged_layer(plan, 0, target.parts, each(source.parts), (target.moments, source.moments))
    assert set(made) == set(parts)
    assert all(torch.isfinite(tensor).all() for projection in made.values() for tensor in projection)


@pytest.mark.parametrize("name", METHODS)
def test_some_heads_alone(name):
    """The rows of the other heads stay, bit for bit."""
    plan = one_layer(method=name, heads=(1,))
    target, source = layer(1), layer(2)
    made = merged_layer(plan, 0, target.parts, each(source.parts), (target.moments, source.moments))
    for part, (weight, bias) in made.items():
        assert torch.equal(weight[:4], target.parts[part][0][:4]) and torch.equal(bias[:4], target.parts[part][1][:4])
        assert not torch.equal(weight[4:], target.parts[part][0][4:])


def test_moments_are_asked_for_once_the_target_is_put_back():
    """What calibrates must see the unmerged target, and zero λ needs no calibration."""
    encoder = small_encoder(6, 3)
    merger, seen = Merger(find_blocks(encoder), random_source(6)), []
    before = encoder.layers[0].q_proj.weight.detach().clone()

    class Listening:
        def moments(self) -> Moments:
            seen.append(torch.equal(encoder.layers[0].q_proj.weight, before))
            side = [dict.fromkeys("qkv", torch.eye(6, dtype=torch.float64)) for _ in range(3)]
            return Moments(side, side)

    plan = plan_by_hand(Shape(3, 6, 1), lams=(0.3,) * 3, parts="q", method="regmean")
    with pytest.raises(MergeError, match="method=regmean: needs activations"):
        merger.apply(plan)
    merger.activations = Listening()
    merger.apply(plan)
    merger.apply(plan)
    assert seen == [True, True]
    merger.apply(replace(plan, lams=(0.0,) * 3))
    assert len(seen) == 2 and torch.equal(encoder.layers[0].q_proj.weight, before)
