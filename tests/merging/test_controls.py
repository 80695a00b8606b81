"""Laws of the controls, and that none of them is another in disguise."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encoder import random_source, small_encoder
from support.runs import jobs, plan_of

from mam.config.schema import Config
from mam.errors import ConfigError, MergeError
from mam.evaluation.workbench import Workbench
from mam.merging.controls import SUBSTITUTES, Place, haar, shuffled
from mam.merging.merger import Merger
from mam.merging.methods import linear
from mam.merging.mixing import effect, merged_layer
from mam.merging.options import MethodOptions
from mam.merging.plan import MergePlan, plan_merge
from mam.merging.tables import CONTROLS, METHODS
from mam.models.blocks import find_blocks

WIDTH, DEPTH = 8, 3
model, source = partial(small_encoder, WIDTH, DEPTH), random_source(WIDTH)
PLACE = Place(0, 0, 1, "q")
ALL = sorted(CONTROLS)


@cache
def composed() -> Config:
    shapes = [
        f"model.{side}_shape.{key}" for side in ("target", "source") for key in ("layers=3", "width=8", "heads=4")
    ]
    return jobs(shapes)[0].config


def plan(
    control: str, lam: float = 0.3, method: str = "linear", parts: str = "qkvo", draw: int = 0, **fields
) -> MergePlan:
    config = replace(composed(), control=control, lam=lam, method=MethodOptions(method), parts=parts, **fields)
    return plan_of(config, draw)


def merged(merge_plan: MergePlan) -> dict[str, torch.Tensor]:
    encoder = model()
    Merger(find_blocks(encoder), source).apply(merge_plan)
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("control", ALL)
def test_lambda_zero_is_the_identity(control, method):
    if METHODS[method].joins_qk and CONTROLS[control].parts == "v":
        return
    assert equal(merged(plan(control, 0.0, method)), model().state_dict())


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_lambda_one_is_the_source(method):
    state = merged(plan("none", 1.0, method))
    for layer in range(DEPTH):
        for part, name in zip("qkvo", ("q_proj", "k_proj", "v_proj", "out_proj"), strict=True):
            weight, bias = source(layer, part)
            assert torch.equal(state[f"layers.{layer}.{name}.weight"], weight)
            assert torch.equal(state[f"layers.{layer}.{name}.bias"], bias)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(ALL), st.floats(0.01, 0.99))
def test_merging_is_linear_in_lambda(control, lam):
    ends = [merged(plan(control, end)) for end in (0.0, 1.0)]
    between = merged(plan(control, lam))
    for name, tensor in between.items():
        torch.testing.assert_close(tensor, (1 - lam) * ends[0][name] + lam * ends[1][name], rtol=1e-4, atol=1e-5)


def test_formulas_by_hand():
    own, given = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 0.0], [-1.0, 8.0]])

    def mixed(control: str) -> list:
        return linear(own, SUBSTITUTES[control](given, own, PLACE), 0.25).tolist()

    assert mixed("shrink") == mixed("shrink_qk") == mixed("shrink_v") == [[0.75, 1.5], [2.25, 3.0]]
    assert mixed("add") == [[2.25, 2.0], [2.75, 6.0]]  # W_t + W_s / 4
    assert mixed("none") == mixed("self") == mixed("shuffle_layers") == [[2.0, 1.5], [2.0, 5.0]]


def test_shrinking_in_two_steps_is_shrinking():
    qk, v, whole = (merged(plan(control, 0.2, parts="qkv")) for control in ("shrink_qk", "shrink_v", "shrink"))
    for name, tensor in whole.items():
        step = v if "v_proj" in name else qk
        assert torch.equal(step[name], tensor)
        untouched = qk if "v_proj" in name else v
        assert torch.equal(untouched[name], model().state_dict()[name])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 9), st.integers(2, 12), st.integers(2, 12))
def test_random_spectrum_keeps_singular_values(seed, draw, rows, columns):
    given_source = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    made = SUBSTITUTES["random_spectrum"](given_source, given_source, Place(seed, draw, 0, "k"))
    singular = [torch.linalg.svdvals(tensor.double()) for tensor in (made, given_source)]
    torch.testing.assert_close(*singular, rtol=1e-4, atol=1e-5)
    assert (made - given_source).abs().max() > 1e-3
    bias = given_source[:, 0]
    turned = SUBSTITUTES["random_spectrum"](bias, bias, Place(seed, draw, 0, "k"))
    torch.testing.assert_close(turned.norm(), bias.norm())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_rotate_keeps_the_sources_own_qk_structure(seed):
    """W_qᵀW_k becomes RᵀW_qᵀW_kR: another basis, the same spectrum; what heads compute of it stays, W_qW_kᵀ."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(6, 6, generator=generator) for _ in range(3))
    rotated = [
        SUBSTITUTES["rotate"](tensor, tensor, Place(seed, 0, layer, part))
        for tensor, layer, part in ((q, 0, "q"), (k, 0, "k"), (v, 2, "v"))
    ]
    before, after = q.double().T @ k.double(), rotated[0].double().T @ rotated[1].double()
    values = [torch.linalg.eigvals(product) for product in (before, after)]
    order = [np.sort_complex(np.round(found.numpy(), 3)) for found in values]
    np.testing.assert_allclose(np.sort(np.abs(order[0])), np.sort(np.abs(order[1])), atol=0.01, rtol=1e-3)
    torch.testing.assert_close(rotated[0] @ rotated[2].T, q @ v.T, rtol=1e-3, atol=1e-4)  # one R for all layers
    assert (rotated[0] - q).abs().max() > 0.01


def test_rotate_turns_what_the_output_writes_into_the_basis_that_the_others_read():
    """A stream x that is Rᵀx elsewhere: there O writes Rᵀ W_o, so that W_o W_v and all it is chained with keep traces.

    With R in place of Rᵀ the output lies in another basis than the one that Q, K and V read.
    """
    parts = {part: source(0, part)[0] for part in "qkvo"}
    turned = {part: SUBSTITUTES["rotate"](one, one, Place(0, 0, 0, part)) for part, one in parts.items()}
    for chain in ("ov", "ovov"):
        product, rotated = torch.eye(WIDTH), torch.eye(WIDTH)
        for part in chain:
            product, rotated = product @ parts[part], rotated @ turned[part]
        assert rotated.trace() == pytest.approx(float(product.trace()), rel=1e-3)
    written = (parts["q"] @ parts["o"], turned["q"] @ turned["o"])  # what a later Q makes of what O wrote
    torch.testing.assert_close(written[1], written[0], rtol=1e-3, atol=1e-4)
    assert (turned["o"] - parts["o"]).abs().max() > 0.1


def test_no_two_places_draw_the_same_numbers():
    """Seeds, draws, layers, parts and uses, with numbers whose digits run into each other."""
    few = (0, 1, 11, 111)
    places = [Place(*where) for where in itertools.product(few, few, few, "qk")]
    first = {
        tuple(torch.randn(2, generator=place.generator(what)).tolist()) for place in places for what in ("u", "v", "uv")
    }
    assert len(first) == 4 * 4 * 4 * 2 * 3


def test_a_bias_is_not_drawn_with_the_numbers_of_its_weight():
    """32 wide, where torch draws the first numbers of a vector and of a matrix in the same way."""
    weight, bias = random_source(32)(0, "q")
    made, made_bias = (SUBSTITUTES["random_iid"](tensor, tensor, PLACE) for tensor in (weight, bias))
    drawn = [(one - given.mean()) / given.std(correction=0) for one, given in ((made, weight), (made_bias, bias))]
    assert not torch.allclose(drawn[0][0], drawn[1], atol=0.1)


def test_the_two_sides_of_a_random_spectrum_are_drawn_apart():
    """With U = V the tensor would be symmetric, and its eigenvalues would be the singular values."""
    made = SUBSTITUTES["random_spectrum"](torch.eye(WIDTH), torch.eye(WIDTH), PLACE)
    assert (made - made.T).abs().max() > 0.1


def test_haar_is_orthogonal_and_has_no_preferred_direction():
    made = torch.stack([haar(4, Place(0, draw), "test") for draw in range(400)])
    torch.testing.assert_close(made @ made.transpose(1, 2), torch.eye(4, dtype=torch.float64).expand(400, 4, 4))
    assert made.mean(0).abs().max() < 0.1  # a QR without the signs would have a mean of -0.4 on its diagonal
    torch.testing.assert_close(made.square().mean(0), torch.full((4, 4), 0.25, dtype=torch.float64), atol=0.06, rtol=0)


def test_random_iid_has_the_sources_moments():
    given_source = 3 + 2 * torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    made = SUBSTITUTES["random_iid"](given_source, given_source, PLACE)
    assert made.mean() == pytest.approx(float(given_source.mean()), abs=0.05)
    assert made.std() == pytest.approx(float(given_source.std()), rel=0.02)
    assert torch.corrcoef(torch.stack([made.flatten(), given_source.flatten()]))[0, 1].abs() < 0.02


@pytest.mark.parametrize("control", [name for name in ALL if CONTROLS[name].is_random])
def test_draws_differ_and_come_again(control):
    states = [merged(plan(control, draw=draw)) for draw in (0, 1, 2)]
    if control != "shuffle_layers":  # three layers have two derangements
        assert not any(equal(states[i], states[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert equal(states[1], merged(plan(control, draw=1)))
    assert not equal(states[0], merged(plan(control, seed=8))) or control == "shuffle_layers"


@given(st.integers(2, 40), st.integers(0, 10**6), st.integers(0, 20))
def test_shuffled_is_a_derangement(depth, seed, draw):
    order = shuffled(depth, seed, draw)
    assert sorted(order) == list(range(depth)) and all(layer != other for layer, other in enumerate(order))


def test_self_takes_the_next_layer_of_the_target():
    before, state = model().state_dict(), merged(plan("self", 0.4))
    for layer in range(DEPTH):
        own, other = (before[f"layers.{n}.k_proj.weight"] for n in (layer, (layer + 1) % DEPTH))
        torch.testing.assert_close(state[f"layers.{layer}.k_proj.weight"], 0.6 * own + 0.4 * other)


def test_no_control_is_another_in_disguise():
    """On the demo pair: each differs from the source and from every other in at least one merged tensor."""
    bench, states = Workbench(), {}
    for control in ALL:
        config = jobs([f"control={control}", "lam=0.1"])[0].config
        pair = bench.pair(config)
        pair.merger.apply(plan_merge(config, *pair.shapes, config.seed))
        states[control] = {
            (block.layer, part): block.projection(part).weight.detach().clone()
            for block in pair.target.blocks
            for part in "qkv"
        }
    for i, one in enumerate(ALL):
        for other in ALL[i + 1 :]:
            distance = max((states[one][key] - states[other][key]).abs().max() for key in states[one])
            # Without an alignment the one is the other.
            assert (distance > 1e-3) != ({one, other} == {"random_spectrum", "aligned_random"}), (one, other)


def test_heads_are_blocks_of_rows_and_of_os_columns():
    state, before, whole = merged(plan("none", heads="0,2-3")), model().state_dict(), merged(plan("none"))
    rows = torch.tensor([True, True, False, False, True, True, True, True])  # four heads of two
    for name in before:
        own, changed, all_heads = before[name], state[name], whole[name]
        if "out_proj.weight" in name:
            assert torch.equal(changed[:, rows], all_heads[:, rows]) and torch.equal(changed[:, ~rows], own[:, ~rows])
        elif "out_proj.bias" in name:
            assert torch.equal(changed, own)
        else:
            assert torch.equal(changed[rows], all_heads[rows]) and torch.equal(changed[~rows], own[~rows])


def test_a_tensor_that_would_become_nan_is_named(monkeypatch):
    monkeypatch.setitem(SUBSTITUTES, "shrink", lambda source, target, place: source * float("nan"))
    encoder = model()
    with pytest.raises(MergeError, match="layer 0, q: method=linear control=shrink returns NaN or infinite values"):
        Merger(find_blocks(encoder), source).apply(plan("shrink"))
    assert equal(dict(encoder.state_dict()), model().state_dict())


def test_a_target_without_output_projection():
    encoder = model()
    for layer in encoder.layers:
        del layer.out_proj
    with pytest.raises(MergeError, match="parts: o cannot be merged, since"):
        Merger(find_blocks(encoder), source).apply(plan("none"))
    Merger(find_blocks(encoder), source).apply(plan("none", parts="qkv"))


def test_a_merged_layer_drops_what_has_no_place():
    weight, bias = source(0, "k")
    cancelled = "no effect after softmax"
    for control, note in (("none", cancelled), ("shrink", None), ("random_iid", cancelled)):
        asked, own, given = plan(control, parts="k"), (weight, None), (weight, bias)
        said = effect(asked, 0, "k", own, (given,)).notes
        assert merged_layer(asked, 0, {"k": own}, {"k": (given,)})["k"][1] is None
        assert len(said) == (note is not None) and (note or "") in "".join(said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["control=noise"],
            r"control=noise: not known. Choose one of:\n      none +No control(.|\n)*random_spectrum +Noise",
        ),
        (["control=shrink_qk", "parts=v"], "parts=v: control=shrink_qk merges only qk, so nothing is left to merge"),
        (["control=shrink_v", "parts=qk"], "control=shrink_v merges only v, so nothing is left to merge"),
        (
            ["control=self", "model.target_shape.layers=1"],
            "control=self: the target has only one layer, so there is no other layer to use",
        ),
        (
            ["control=shuffle_layers", "model.source_shape.layers=1", "layers.spec=0"],
            "the source has only one layer, so there is none to exchange it with",
        ),
        (["control_draws=4"], "control_draws=4: must be from 5"),
        (["heads=4"], "heads=4: there is no head 4; the target has heads 0 to 3"),
        (["heads=x"], "heads=x: must be all, or indices such as 0-3,5"),
        (["parts=qx"], "must be a string of q, k, v, o"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(words, message):
    with pytest.raises(ConfigError, match=message):
        jobs(words)
