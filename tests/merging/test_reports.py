"""What a merge reports, asked for with and without merging; a plan's further draws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.encoder import random_source, small_encoder
from support.plans import plan_by_hand

from mam.errors import MergeError
from mam.merging.merger import Merger, MergeReport
from mam.merging.methods import Projection
from mam.merging.mixing import Effect, effect
from mam.merging.options import LayerOptions, MergeOptions, ScheduleOptions
from mam.merging.plan import MergePlan, mismatch_notes, plan_merge
from mam.merging.shape import Shape
from mam.merging.tables import CONTROLS
from mam.models.blocks import find_blocks

WIDTH, DEPTH = 6, 3
SHAPE = Shape(DEPTH, WIDTH, 3)
WEIGHT, BIAS = WIDTH * WIDTH, WIDTH
PLANS = {
    "plain": {},
    "no bias": {"bias": False},
    "zero": {"lams": (0.0,) * DEPTH},
    "zero in between": {"lams": (0.3, 0.0, 0.6)},
    "heads": {"heads": (1,)},
    "a head of O": {"heads": (0, 2), "parts": "qo"},
    "other pairs": {"pairs": {0: 2, 2: 0}, "parts": "kv"},
    "aligned": {"align": "procrustes"},
    "together": {"method": "qk_product"},
} | {control: {"control": control} for control in CONTROLS if control != "none"}


def plan(**fields: object) -> MergePlan:
    return plan_by_hand(SHAPE, **fields)


def without_biases(layer: int, part: str) -> Projection:
    return random_source(WIDTH)(layer, part)[0], None


@pytest.mark.parametrize("read", [random_source(WIDTH), without_biases], ids=["source", "no bias"])
@pytest.mark.parametrize("key_bias", [True, False])
@pytest.mark.parametrize("fields", PLANS.values(), ids=PLANS)
def test_a_report_is_what_the_merge_reports_and_merges_nothing(fields, key_bias, read):
    encoder = small_encoder(WIDTH, DEPTH, key_bias)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    report = Merger(find_blocks(encoder), read).report(plan(**fields))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert report == Merger(find_blocks(encoder), read).apply(plan(**fields))


def test_a_report_leaves_a_merge_that_is_in_the_model():
    encoder = small_encoder(WIDTH, DEPTH)
    merger = Merger(find_blocks(encoder), random_source(WIDTH))
    merger.apply(plan(lams=(0.5,) * DEPTH))
    merged = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    assert merger.report(plan()).tensors == 2 * 3 * DEPTH
    assert all(torch.equal(tensor, merged[name]) for name, tensor in encoder.state_dict().items())


def test_a_report_refuses_what_the_merge_refuses():
    encoder = small_encoder(WIDTH, DEPTH)
    damaged = Merger(find_blocks(encoder), lambda *_: (torch.full((WIDTH, WIDTH), float("nan")), None))
    with pytest.raises(MergeError, match="source layer 0, q: has NaN or infinite values"):
        damaged.report(plan())
    del encoder.layers[0].out_proj
    with pytest.raises(MergeError, match="parts: o cannot be merged, since"):
        Merger(find_blocks(encoder), random_source(WIDTH)).report(plan(parts="qo"))


def test_reports_add_up_and_say_each_note_once():
    effects = [Effect(2, 42, ("one",)), Effect(1, 36), Effect(1, 36, ("one", "two"))]
    assert MergeReport.of(effects) == MergeReport(4, 114, ("one", "two"))
    assert MergeReport.of([]) == MergeReport(0, 0, ())


NO_BIAS = "the source's {} has no bias, so the target's is merged with zero. bias=false leaves it unchanged"
DROPPED = "the source's {0} bias is dropped, since the target's {0} has none ({1})"


@pytest.mark.parametrize(
    ("fields", "part", "own", "given", "expected"),
    [
        ({}, "q", True, True, Effect(2, WEIGHT + BIAS)),
        ({}, "q", True, False, Effect(2, WEIGHT + BIAS, (NO_BIAS.format("Q"),))),
        ({}, "q", False, False, Effect(1, WEIGHT)),
        ({}, "k", False, True, Effect(1, WEIGHT, (DROPPED.format("K", "this has no effect after softmax"),))),
        ({}, "v", False, True, Effect(1, WEIGHT, (DROPPED.format("V", "its effect is lost"),))),
        ({"bias": False}, "q", True, True, Effect(1, WEIGHT)),
        ({"bias": False}, "k", False, True, Effect(1, WEIGHT)),
        ({"heads": (1,)}, "q", True, True, Effect(2, 2 * WIDTH + 2)),
        ({"heads": (0, 2)}, "v", True, False, Effect(2, 4 * WIDTH + 4, (NO_BIAS.format("V"),))),
        ({"heads": (1,)}, "o", True, True, Effect(1, 2 * WIDTH)),
        ({"control": "shrink"}, "k", False, True, Effect(1, WEIGHT)),
        ({"control": "shrink"}, "q", True, True, Effect(2, WEIGHT + BIAS)),
        (
            {"control": "add"},
            "k",
            False,
            True,
            Effect(1, WEIGHT, (DROPPED.format("K", "this has no effect after softmax"),)),
        ),
    ],
)
def test_what_merging_one_projection_changes_by_hand(fields, part, own, given, expected):
    """Six wide, three heads of two: a head is 12 numbers of a weight and 2 of a bias."""
    ours, theirs = ((torch.ones(WIDTH, WIDTH), torch.ones(WIDTH) if has_bias else None) for has_bias in (own, given))
    assert effect(plan(parts="qkvo", **fields), 0, part, ours, (theirs,)) == expected


def test_a_bias_of_zeros_that_is_dropped_is_not_worth_a_word():
    ones = torch.ones(WIDTH, WIDTH)
    assert effect(plan(), 0, "k", (ones, None), ((ones, torch.zeros(WIDTH)),)) == Effect(1, WEIGHT)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_further_draw_is_the_plan_of_that_draw(control):
    """Another draw may pair layers anew; nothing else of the plan changes."""
    target, source = Shape(6, 8, 4), Shape(12, 8, 4)
    options = MergeOptions(control=control, pairing="proportional", layers=LayerOptions("top4"))
    first = plan_merge(options, target, source, seed=3)
    assert first.drawn(0) is first
    for draw in (1, 2):
        drawn = first.drawn(draw)
        assert drawn == plan_merge(options, target, source, 3, draw)
        assert drawn == replace(first, draw=draw, pairs=drawn.pairs) and drawn.drawn(0) == first
        assert (drawn.pairs != first.pairs) == (CONTROLS[control].layers == "shuffled")


def test_what_a_plan_says_of_itself():
    options = MergeOptions(lam=0.4, schedule=ScheduleOptions("linear"), layers=LayerOptions("0,2"), parts="qo")
    one = plan_merge(options, SHAPE, Shape(4, WIDTH, 2))
    assert one.lams == (0.0, 0.0, 0.4) and one.layers == [0, 2] and one.merged_layers == [2] and one.first == 0
    assert one.by_layer == "λ by layer: 0:0 2:0.4" and not one.is_identity and not one.is_own
    assert one.options == options and one.has_bias("o")
    assert not replace(one, heads=(1,)).has_bias("o") and replace(one, heads=(1,)).has_bias("q")
    assert mismatch_notes(one) == (
        "heads differ: the target has 3 heads of 2, the source has 2 heads of 3; the shapes agree nevertheless",
    )
    own = plan_merge(replace(options, control="self"), SHAPE, Shape(4, 8, 2))
    assert own.is_own and own.source == SHAPE and mismatch_notes(own) == () and own.pairs == {0: 1, 2: 0}
