"""Stacks of layers: numbers, pairs and λ in an encoder, a decoder's self-attention and its cross-attention."""

import pytest

from mam.errors import MergeError
from mam.merging.options import LayerOptions, MergeOptions, ScheduleOptions
from mam.merging.plan import plan_merge
from mam.merging.selection import letters_of, parse_parts
from mam.merging.shape import Shape

TEXT = Shape(3, 8, 2)
SPEECH = Shape(4, 8, 2, decoder=2)  # layers 0-3, the decoder's 4-5, its cross-attention 6-7


def plan(where, source=TEXT, target=SPEECH, **options):
    return plan_merge(MergeOptions(lam=0.2, where=where, pairing="proportional", **options), target, source)


def test_layers_are_numbered_through():
    assert {name: list(stack.numbers) for name, stack in SPEECH.stacks.items()} == {
        "encoder": [0, 1, 2, 3],
        "decoder": [4, 5],
        "cross": [6, 7],
    }
    assert [SPEECH.place(layer) for layer in (3, 4, 7)] == ["3", "decoder 0", "cross 1"]
    assert str(SPEECH) == "4 layers × 8, 2 heads, a decoder of 2"
    assert list(TEXT.stacks) == ["encoder"]


def test_a_source_with_one_stack_goes_into_each():
    assert plan("encoder").pairs == {0: 0, 1: 1, 2: 1, 3: 2}
    assert plan("decoder").pairs == {4: 0, 5: 2}
    assert plan("cross").pairs == {6: 0, 7: 2}
    assert plan("all").pairs == plan("encoder").pairs | plan("decoder").pairs | plan("cross").pairs


def test_a_source_with_a_decoder_goes_into_the_stacks_of_the_same_name():
    source = Shape(2, 8, 2, decoder=4)  # layers 0-1, 2-5, 6-9
    assert plan("encoder", source).pairs == {0: 0, 1: 0, 2: 1, 3: 1}
    assert plan("decoder", source).pairs == {4: 2, 5: 5}
    assert plan("cross", source).pairs == {6: 6, 7: 9}


def test_lambda_by_hand():
    assert plan("decoder").lams == (0, 0, 0, 0, 0.2, 0.2)
    assert plan("encoder").lams == (0.2,) * 4
    rising = plan("all", schedule=ScheduleOptions("linear", start=0, end=1), layers=LayerOptions("top2")).lams
    assert rising == pytest.approx((0, 0, 0.2 * 2 / 3, 0.2, 0, 0.2, 0, 0.2))  # each stack rises by itself
    listed = plan("cross", schedule=ScheduleOptions("list", values=[0.3, 0.4])).lams
    assert listed == (0, 0, 0, 0, 0, 0, 0.3, 0.4)
    values = [n / 10 for n in range(8)]
    assert plan("all", schedule=ScheduleOptions("list", values=values)).lams == tuple(values)
    with pytest.raises(MergeError, match="schedule.values: has 4 numbers, but the target has 8 layers"):
        plan("all", schedule=ScheduleOptions("list", values=[0.1] * 4))


def test_only_what_precedes_the_first_merged_layer_of_the_encoder_is_unchanged():
    assert [plan(where).first for where in ("encoder", "decoder", "cross", "all")] == [0, 4, 4, 0]
    assert plan("all", layers=LayerOptions("top1")).first == 3


@pytest.mark.parametrize("where", ["encoder", "decoder", "cross", "all"])
def test_controls_stay_within_a_stack(where):
    own = plan(where, control="self")
    for layer, other in own.pairs.items():
        stack = next(stack for stack in SPEECH.stacks.values() if layer in stack.numbers)
        assert other in stack.numbers and other != layer
    source = Shape(3, 8, 2, decoder=3)
    shuffled, paired = (plan(where, source, control=control).pairs for control in ("shuffle_layers", "none"))
    for layer, other in shuffled.items():
        stack = next(stack for stack in source.stacks.values() if paired[layer] in stack.numbers)
        assert other in stack.numbers and other != paired[layer]


def test_cross_attention_has_a_norm_and_no_feed_forward_block():
    merge = plan("all", parts="qkvofn")
    assert merge.parts == ("q", "k", "v", "o", "f1", "f2", "n1", "n2")
    assert merge.parts_at(0) == merge.parts_at(5) == merge.parts
    assert merge.parts_at(6) == ("q", "k", "v", "o", "n1")


def test_parts_are_letters_outside():
    assert parse_parts("nfq") == ("q", "f1", "f2", "n1", "n2")
    assert letters_of(parse_parts("vfoqkn")) == "qkvofn"
    for wrong in ("", "qq", "qx", "f1"):
        with pytest.raises(MergeError, match="each at most once"):
            parse_parts(wrong)


def test_a_target_without_a_decoder_is_refused():
    with pytest.raises(MergeError, match="where=decoder: the target has no decoder. Leave where out"):
        plan("decoder", target=TEXT)


def test_a_control_that_takes_another_layer_needs_one_in_each_stack():
    """It is refused, and does not search for ever for another layer than the only one."""
    shallow = Shape(4, 8, 2, decoder=1)
    with pytest.raises(
        MergeError, match="control=self: the target has only one layer, so there is no other layer to use"
    ):
        plan("decoder", target=shallow, control="self")
    with pytest.raises(
        MergeError, match="control=shuffle_layers: the source has only one layer, so there is none to exchange it with"
    ):
        plan("decoder", shallow, control="shuffle_layers")
    assert set(plan("encoder", shallow, control="shuffle_layers").pairs) == {0, 1, 2, 3}
