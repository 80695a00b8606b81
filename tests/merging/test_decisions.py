"""Selection, pairing, schedules: what is merged with what, and how much."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mam.errors import MergeError
from mam.merging.options import ScheduleOptions
from mam.merging.pairing import PAIRINGS, index, proportional, top
from mam.merging.schedules import SCHEDULES
from mam.merging.selection import parse_layers, parse_parts


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("odd", [1, 3, 5]),
        ("even", [0, 2, 4]),
        ("top2", [4, 5]),
        ("bottom2", [0, 1]),
        ("middle2", [2, 3]),
        ("middle3", [1, 2, 3]),
        ("top6", [0, 1, 2, 3, 4, 5]),
        ("0-2,5", [0, 1, 2, 5]),
        ("3,1, 3", [1, 3]),
        ("4", [4]),
    ],
)
def test_selection(spec, layers):
    assert parse_layers(spec, 6) == layers


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("top7", "the target has 6 layers, so the number must be from 1 to 6"),
        ("top0", "the target has 6 layers, so the number must be from 1 to 6"),
        ("0-6", "no layer 6; the target has layers 0 to 5"),
        ("3-1", "is reversed"),
        ("some", "'some' is not a selection of layers"),
        ("", "'' is not a selection of layers"),
        ("1,,2", "'' is not a selection of layers"),
        ("-1", "'-1' is not a selection of layers"),
    ],
)
def test_selection_refuses(spec, message):
    with pytest.raises(MergeError, match=message):
        parse_layers(spec, 6)


def test_parts():
    assert parse_parts("ovq") == ("q", "v", "o") and parse_parts("qkv") == ("q", "k", "v")
    for wrong in ("", "x", "qq", "qkvoo"):
        with pytest.raises(MergeError, match="must be a string of q, k, v, o"):
            parse_parts(wrong)


def test_pairings_by_hand():
    assert index([0, 3], 4, 6) == {0: 0, 3: 3}
    assert top([2, 3], 4, 6) == {2: 4, 3: 5} and top([5], 6, 4) == {5: 3}
    assert proportional([0, 1, 2, 3], 4, 7) == {0: 0, 1: 2, 2: 4, 3: 6}
    assert proportional([0, 1, 2, 3, 4, 5], 6, 3) == {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2}
    assert proportional([0], 1, 5) == {0: 4}


@pytest.mark.parametrize("name", ["index", "top"])
def test_a_source_that_is_too_shallow_is_refused(name):
    with pytest.raises(MergeError, match=f"pairing={name}: the source has 4 layers, so target layer.*no partner"):
        PAIRINGS[name](range(6), 6, 4)


@given(st.integers(1, 30), st.integers(1, 30))
def test_equal_depths_pair_alike(depth, other):
    layers = range(depth)
    same = {layer: layer for layer in layers}
    assert all(pairing(layers, depth, depth) == same for pairing in PAIRINGS.values())
    pairs = proportional(layers, depth, other)
    assert all(0 <= source < other for source in pairs.values())
    assert list(pairs.values()) == sorted(pairs.values())


def test_schedules_by_hand():
    assert SCHEDULES["constant"](0.2, 3, ScheduleOptions()) == [0.2, 0.2, 0.2]
    assert SCHEDULES["linear"](0.2, 3, ScheduleOptions()) == [0.0, 0.1, 0.2]
    assert SCHEDULES["linear"](0.4, 3, ScheduleOptions(start=1, end=0.5)) == pytest.approx([0.4, 0.3, 0.2])
    assert SCHEDULES["linear"](0.4, 1, ScheduleOptions()) == [0.4]
    assert SCHEDULES["list"](1.0, 3, ScheduleOptions(values=[0, 0.3, 1])) == [0, 0.3, 1]
    assert SCHEDULES["list"](0.5, 2, ScheduleOptions(values=[0, 0.3])) == [0, 0.3]  # whatever lam is


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {"end": 1.5}, "schedule.end=1.5"),
        ("list", {"values": [0.1]}, "has 1 numbers, but the target has 3 layers"),
        ("list", {"values": [0.1, -0.2, 2]}, "schedule.values: all values must be from 0 to 1, but there is -0.2, 2"),
        (
            "list",
            {"values": [0.1, float("nan"), 0]},
            "schedule.values: all values must be from 0 to 1, but there is nan",
        ),
    ],
)
def test_schedules_refuse(name, options, message):
    with pytest.raises(MergeError, match=message):
        SCHEDULES[name](1.0, 3, ScheduleOptions(**options))


def options(**fields) -> ScheduleOptions:
    return ScheduleOptions(**fields)


def test_more_schedules_by_hand():
    assert SCHEDULES["power"](0.1, 3, options(alpha=1, beta=1)) == pytest.approx([0.1, 0.1**1.5, 0.01])
    assert SCHEDULES["lines"](0.5, 3, options(alpha=0.2, beta=0.4)) == pytest.approx([0.2, 0.4, 0.6])
    made = SCHEDULES["gaussian"](0.2, 4, options(center=1, width=2))
    assert made == pytest.approx([0.2 * math.exp(-1 / 8), 0.2, 0.2 * math.exp(-1 / 8), 0.2 * math.exp(-0.5)])
    assert SCHEDULES["power"](0.0, 3, options()) == [0, 0, 0] and SCHEDULES["lines"](1, 1, options(alpha=0.3)) == [0.3]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("power", {"alpha": 0.5, "beta": -1}, "must be above 0, but the smallest is -0.5"),
        (
            "lines",
            {"alpha": 0.5, "beta": 1},
            "schedule=lines: λ must be from 0 to 1, but alpha and beta give 1.5 in layer 2",
        ),
        ("gaussian", {"width": 0}, "schedule.width=0: must be above 0"),
        ("gaussian", {"center": 3}, "schedule.center=3: must be a layer of the target, from 0 to 2"),
    ],
)
def test_schedules_refuse_what_makes_no_sense(name, fields, message):
    with pytest.raises(MergeError, match=re.escape(message)):
        SCHEDULES[name](1.0, 3, options(**fields))
