"""Recorded configurations: what is read by top-level keys is what reading the whole gives."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.runs import jobs

from mam.records import recorded
from mam.records.recorded import Loader
from mam.small_files import parse_yaml


def whole(text):
    return recorded._object(recorded._node(parse_yaml(text, "here", Loader)))


def saved(*words):
    return yaml.safe_dump(asdict(jobs(words)[0].config), sort_keys=False, allow_unicode=True)


WORDS = [
    (),
    ("train=lmam", "lam=0.3", "train.report_to=[tensorboard]"),
    ("tune=cmaes", "tune.evaluations=5", "parts=kv", "seed=9223372036854775808"),
    ("method=regmean", "calibration.source=sentences.txt", "threads=2"),
    ("schedule=list", "schedule.values=[0,0.1,1e-3,0.5]", "model.target='Größe: {a #1}'"),
    ("experiment=lambda_grid", "evaluate.by=[speaker,accent]", "data.columns.speaker=no"),
    ('model.target="~/x # y"', "outputs='- x'", "data.language='no'"),
]


@pytest.mark.parametrize("words", WORDS, ids=map(" ".join, WORDS))
def test_key_by_key_is_the_whole(words):
    text = saved(*words)
    assembled = recorded._assembled(text)
    assert assembled is not None and assembled == whole(text)


def test_what_is_returned_may_be_changed():
    text = saved()
    first = recorded._assembled(text)
    first.model.target, first.track[:] = "other", ["x"]
    second = recorded._assembled(text)
    assert second.model.target != "other" and second.track == []


KEYS = ("lam", "seed", "track", "outputs")
REST = "".join(block for block in recorded.BLOCK.split(saved()) if not block.startswith(KEYS))


def agrees(text):
    """Whether the text was read key by key; where it was, the whole must be the same."""
    assembled = recorded._assembled(text)
    if assembled is not None:
        assert assembled == whole(text)
    return assembled is not None


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ("lam: 0.1\nseed: 3\ntrack: [a]\noutputs: x\n", True),
        ("lam: 1\n# a comment: 1\nseed: 3\n\ntrack:\n- wandb\n- b: c\n\noutputs: null\n", False),
        ("lam: 1\n# a comment: 1\nseed: 3\n\ntrack:\n- wandb\n\noutputs: 'x # y'\n", True),
        ("lam: 0.1\nseed: 3\ntrack: []\noutputs: |\n  a\n  lam: 0.1\n", True),
        ("seed: 3\ntrack: []\noutputs: 'a\nlam: 0.1'\n", False),  # a text of two lines that looks like a key
        ("lam: 0.1\nseed: &a 3\ntrack: []\noutputs: x\nthreads: *a\n", False),
        ("lam: 0.1\nlam: 0.2\nseed: 3\ntrack: []\noutputs: x\n", False),
        ("lam: 0.1\n---\nseed: 3\ntrack: []\noutputs: x\n", False),
        ("? lam\n: 0.1\nseed: 3\ntrack: []\noutputs: x\n", False),
        ("lam: null\nseed: 3\ntrack: []\noutputs: x\n", False),
        ("lam: 0.1\nseed: 1.5\ntrack: []\noutputs: x\n", False),
        ("lam: 0.1\nseed: 3\ntrack: []\noutputs: x\nnothing: 1\n", False),
        ("lam: 0.1\nseed: 3\ntrack: null\noutputs: x\n", False),
        ("lam: 0.1\nseed: 3\ntrack: []\n", False),
        ("", False),
    ],
)
def test_what_cannot_be_read_key_by_key_is_left_to_the_whole(text, is_read):
    assert agrees(REST + text) == is_read


PIECES = ["lam: 0.1\n", "lam: 1\n", "seed: 3\n", "track:\n", "- a\n", "- b\n", "track: [x]\n", "outputs: x\n", "\n"]
PIECES += ["  speed: 1\n", "# no\n", "outputs: 'a\n", "b'\n", "lam: x\n", "x: 1\n", "\t", "lam: .1\nseed: 1\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_any_pieces_in_any_order(text):
    agrees(REST + text)


@pytest.mark.parametrize("text", ["- lam\n", "lam\n", "", "5: 1\n", "[" * 200, "model: x\n"])
def test_no_configuration(text):
    assert recorded._assembled(text) is None
