"""Laws of merging: identity at 0, the source at 1, linearity; nothing else changes; no drift."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.encoder import random_source, small_encoder
from support.plans import plan_by_hand

from mam.errors import MergeError
from mam.merging.controls import SUBSTITUTES, Place
from mam.merging.merger import Merger
from mam.merging.methods import linear
from mam.merging.shape import Shape
from mam.merging.tables import CONTROLS
from mam.models.blocks import find_blocks

WIDTH, DEPTH = 6, 3
SHAPE = Shape(DEPTH, WIDTH, 3)
model, source = partial(small_encoder, WIDTH, DEPTH), random_source(WIDTH)


def plan(lam=0.3, layers=(0, 1, 2), **fields):
    lams = tuple(lam if i in layers else 0.0 for i in range(DEPTH))
    return plan_by_hand(SHAPE, **{"lams": lams, "pairs": {i: i for i in layers}} | fields)


def state(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def test_two_by_two_by_hand():
    target, other = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 0.0], [-1.0, 8.0]])
    assert linear(target, other, 0.25).tolist() == [[2.0, 1.5], [2.0, 5.0]]
    assert linear(target, SUBSTITUTES["shrink"](other, target, Place(0, 0)), 0.25).tolist() == [
        [0.75, 1.5],
        [2.25, 3.0],
    ]
    assert SUBSTITUTES["none"](other, target, Place(0, 0)) is other


def test_merge_writes_the_formula_and_nothing_else():
    encoder = model()
    before = state(encoder)
    report = Merger(find_blocks(encoder), source).apply(plan(0.3, layers=(0, 2), parts=("q", "v")))
    written = {f"layers.{i}.{p}_proj.{w}" for i in (0, 2) for p in "qv" for w in ("weight", "bias")}
    for name, tensor in encoder.state_dict().items():
        if name in written:
            _, layer, projection, kind = name.split(".")
            other = source(int(layer), projection[0])[kind == "bias"]
            torch.testing.assert_close(tensor, 0.7 * before[name] + 0.3 * other)
        else:
            assert torch.equal(tensor, before[name]), name
    assert (report.tensors, report.parameters, report.notes) == (8, 4 * (WIDTH * WIDTH + WIDTH), ())


def test_weights_alone():
    encoder = model()
    before = state(encoder)
    report = Merger(find_blocks(encoder), source).apply(plan(bias=False))
    assert report.tensors == 9
    assert all(torch.equal(t, before[n]) for n, t in encoder.state_dict().items() if n.endswith("bias"))


def test_zero_is_the_target_bit_for_bit_even_with_negative_zeros():
    encoder = model()
    with torch.no_grad():
        encoder.layers[0].q_proj.weight[0, 0] = -0.0
    before = state(encoder)
    Merger(find_blocks(encoder), source).apply(plan(0.0))
    for name, tensor in encoder.state_dict().items():
        assert tensor.numpy().tobytes() == before[name].numpy().tobytes()


def test_one_is_the_source_bit_for_bit():
    encoder = model()
    Merger(find_blocks(encoder), source).apply(plan(1.0))
    for i, layer in enumerate(encoder.layers):
        for part in "qkv":
            weight, bias = source(i, part)
            linear = getattr(layer, f"{part}_proj")
            assert torch.equal(linear.weight, weight) and torch.equal(linear.bias, bias)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["none", "shrink"]))
def test_merging_is_linear_in_lambda(a, b, control):
    encoder = model()
    merger = Merger(find_blocks(encoder), source)

    def weight(lam):
        merger.apply(plan(lam, control=control))
        return encoder.layers[1].v_proj.weight.detach().double().clone()

    torch.testing.assert_close(weight((a + b) / 2), (weight(a) + weight(b)) / 2, rtol=0, atol=1e-5)


def test_no_drift_over_many_merges():
    encoder = model()
    before = state(encoder)
    merger = Merger(find_blocks(encoder), source)
    merger.apply(plan(0.1))
    first = state(encoder)
    for lam in (0.9, 1.0, 0.33, 0.0, 0.1):
        merger.apply(plan(lam))
    assert all(torch.equal(tensor, first[name]) for name, tensor in encoder.state_dict().items())
    merger.restore()
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_half_precision_model_is_merged_in_full_precision():
    """The bf16 result is the rounded fp32 merge, not a merge of rounded tensors."""
    encoder = model()
    exact = encoder.layers[0].q_proj.weight.detach().clone()
    merger = Merger(find_blocks(encoder), source)
    merger.keep(range(DEPTH), "qkv")
    encoder.to(torch.bfloat16)
    merger.apply(plan(0.3))
    expected = exact.lerp(source(0, "q")[0], 0.3).to(torch.bfloat16)
    assert torch.equal(encoder.layers[0].q_proj.weight, expected)
    merger.restore()
    assert torch.equal(encoder.layers[0].q_proj.weight, exact.to(torch.bfloat16))


def test_source_bias_without_a_place_is_dropped_and_said():
    encoder = model(key_bias=False)
    report = Merger(find_blocks(encoder), source).apply(plan())
    assert report.notes == (
        "the source's K bias is dropped, since the target's K has none (this has no effect after softmax)",
    )
    assert report.tensors == 5 * DEPTH


def test_missing_source_bias_counts_as_zero():
    encoder = model()
    before = encoder.layers[0].q_proj.bias.detach().clone()
    Merger(find_blocks(encoder), lambda layer, part: (source(layer, part)[0], None)).apply(plan(0.25))
    torch.testing.assert_close(encoder.layers[0].q_proj.bias, 0.75 * before)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(WIDTH + 1, WIDTH + 1), r"layer 2, v: its shape is \(7, 7\), that of the target is \(6, 6\)"),
        (torch.full((WIDTH, WIDTH), float("nan")), "source layer 2, v: has NaN or infinite values"),
    ],
)
def test_a_bad_source_tensor_is_named_and_the_target_is_put_back(bad, message):
    encoder = model()
    before = state(encoder)
    merger = Merger(find_blocks(encoder), lambda i, p: (bad, None) if (i, p) == (2, "v") else source(i, p))
    with pytest.raises(MergeError, match=message):
        merger.apply(plan())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("shape", [(1,), (WIDTH + 1,), (WIDTH, 1)])
def test_a_source_bias_of_another_shape_is_refused(shape):
    merger = Merger(find_blocks(model()), lambda layer, part: (source(layer, part)[0], torch.ones(shape)))
    with pytest.raises(MergeError, match="with bias"):
        merger.apply(plan())


def test_pairs_choose_the_source_layer():
    encoder = model()
    Merger(find_blocks(encoder), source).apply(plan(lams=(0.0, 1.0, 0.0), pairs={1: 7}, parts="q"))
    assert torch.equal(encoder.layers[1].q_proj.weight, source(7, "q")[0])


@pytest.mark.parametrize(("parts", "tensors", "numbers"), [("qkv", 18, 3 * (2 * 6 + 2)), ("o", 3, 6 * 2)])
def test_what_a_merge_of_some_heads_changes_is_counted(parts, tensors, numbers):
    """Heads of width 2, one of three: 2 rows of Q, K, V and of their biases; 2 columns of O and no bias."""
    encoder = model()
    before = state(encoder)
    report = Merger(find_blocks(encoder), source).apply(plan(0.3, parts=parts, heads=(1,)))
    differing = {name: int((tensor != before[name]).sum()) for name, tensor in encoder.state_dict().items()}
    assert report.parameters == sum(differing.values()) == DEPTH * numbers
    assert report.tensors == sum(count > 0 for count in differing.values()) == tensors


def test_a_source_without_bias_shrinks_the_targets_and_says_so():
    encoder = model()
    bias = encoder.layers[0].q_proj.bias.detach().clone()
    report = Merger(find_blocks(encoder), lambda layer, part: (source(layer, part)[0], None)).apply(plan(0.3))
    assert torch.allclose(encoder.layers[0].q_proj.bias, 0.7 * bias)
    assert (
        report.notes[0]
        == "the source's Q has no bias, so the target's is merged with zero. bias=false leaves it unchanged"
    )


def test_any_error_leaves_the_target_as_it_was(monkeypatch):
    encoder = model()
    before = state(encoder)

    def breaks(given, own, place):
        if place.layer == 2:
            raise torch.linalg.LinAlgError("did not converge")
        return given

    monkeypatch.setitem(SUBSTITUTES, "rotate", breaks)
    with pytest.raises(torch.linalg.LinAlgError):
        Merger(find_blocks(encoder), source).apply(plan(control="rotate"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("control", list(CONTROLS))
def test_singular_sources_make_finite_weights(control, rank):
    def flat(layer, part):
        return source(layer, part)[0][:, :1].expand(WIDTH, WIDTH) * rank, torch.zeros(WIDTH)

    encoder = model()
    Merger(find_blocks(encoder), flat).apply(plan(control=control))
    assert all(torch.isfinite(tensor).all() for tensor in encoder.state_dict().values())


@pytest.mark.parametrize("control", [name for name in CONTROLS if CONTROLS[name].layers == "paired"])
def test_lambda_one_is_what_the_control_puts_in_place(control):
    encoder = model()
    own = encoder.layers[1].v_proj.weight.detach().clone()
    Merger(find_blocks(encoder), source).apply(plan(1.0, control=control, parts=("v",), seed=3))
    expected = SUBSTITUTES[control](source(1, "v")[0], own, Place(3, 0, 1, "v"))
    assert torch.equal(encoder.layers[1].v_proj.weight, expected)


@pytest.mark.parametrize("method", ["linear", "slerp", "norm_matched", "qk_product"])
def test_a_layer_whose_lambda_is_zero_stays_bit_for_bit_among_others(method):
    """It is not even read: its source is damaged, which is no error."""
    encoder = model()
    with torch.no_grad():
        encoder.layers[1].q_proj.weight[0, 0] = -0.0
        encoder.layers[1].v_proj.bias[0] = -0.0
    before = state(encoder)

    def damaged(layer, part):
        return (torch.full((WIDTH, WIDTH), float("nan")), None) if layer == 1 else source(layer, part)

    report = Merger(find_blocks(encoder), damaged).apply(plan(method=method, lams=(0.3, 0.0, 0.6)))
    for name, tensor in encoder.state_dict().items():
        is_same = tensor.numpy().tobytes() == before[name].numpy().tobytes()
        assert is_same == (name.startswith("layers.1.") or "out_proj" in name), name
    assert report.tensors == 2 * 3 * 2


def other_source(layer, part):
    return tuple(tensor[..., :4] if tensor.ndim == 1 else tensor[:4, :4] for tensor in source(layer, part))


@pytest.mark.parametrize(
    ("first", "second", "read"),
    [
        ({"align": "procrustes"}, {"align": "procrustes", "pairs": {0: 1, 1: 2, 2: 0}}, source),
        ({"align": "procrustes"}, {"align": "permute"}, source),
        ({"project": "random"}, {"project": "random", "seed": 1}, other_source),
        ({"project": "random"}, {"project": "svd"}, other_source),
        ({"lams": (0.4,) * DEPTH}, {"bias": False, "lams": (0.6,) * DEPTH}, source),
        ({"lams": (0.4,) * DEPTH}, {"lams": (0.6, 0.6, 0.0)}, source),
        ({"lams": (0.4,) * DEPTH}, {"parts": ("q", "v"), "lams": (0.6,) * DEPTH}, source),
    ],
    ids=["pairs", "align", "seed", "project", "bias", "layers", "parts"],
)
def test_a_merger_gives_another_plan_what_a_fresh_one_gives_it(first, second, read):
    """What is kept of an aligned or projected source is kept for plans that ask for the same alone."""
    shape = Shape(DEPTH, 4, 2) if read is other_source else SHAPE
    plans = [plan(source=shape, **fields) for fields in (first, second)]
    used, fresh = model(), model()
    merger = Merger(find_blocks(used), read)
    for one in plans:
        merger.apply(one)
    Merger(find_blocks(fresh), read).apply(plans[1])
    after_first = model()
    Merger(find_blocks(after_first), read).apply(plans[0])
    assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in used.state_dict().items())
    assert not torch.equal(after_first.layers[0].q_proj.weight, fresh.layers[0].q_proj.weight)
