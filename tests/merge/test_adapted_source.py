"""What the target is given: read, checked, and taken to the target's basis."""

from __future__ import annotations

import pytest
import torch
from support.alignment import D, block

from mam.errors import MergeError
from mam.merge.adapted_source import Given
from mam.merge.basis import Basis
from mam.merge.controls import Place, haar
from mam.merge.plan import MergePlan


def test_a_basis_moves_moments_as_it_moves_what_is_heard():
    stream = haar(12, Place(0, 0), "test")[:D]
    x = torch.randn(30, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = Basis(stream=stream).moved_moments(0, "q", x.T @ x)
    torch.testing.assert_close(moments, (x @ stream.T).T @ (x @ stream.T))


def test_given_reads_a_plain_source_through_and_keeps_an_aligned_one():
    count = {"own": 0, "source": 0}

    def read(side):
        def reading(layer, part):
            count[side] += 1
            return block(layer + (side == "own") * 50)[part]

        return reading

    def plan(**fields):
        return MergePlan("linear", "none", (0.1,) * 2, {0: 0, 1: 1}, ("q", "k", "v"), "index", True, **fields)

    plain, aligned = (Given(plan(align=name), read("own"), read("source")) for name in ("none", "procrustes"))
    assert torch.equal(plain.read(0, "q")[0], block(0)["q"][0])
    plain.read(0, "q")
    assert count["source"] == 2
    aligned.read(0, "q")
    seen = count["source"]
    assert torch.equal(aligned.read(0, "q")[0], aligned.read(0, "q")[0]) and count["source"] == seen
    assert Given.key(plan()) == Given.key(plan(alpha=0.3)) != Given.key(plan(align="heads"))


def test_another_width_without_projection_is_refused_by_the_tensor_too():
    plan = MergePlan("linear", "none", (0.1,), {0: 0}, ("q",), "index", True)
    given = Given(plan, lambda *_: (torch.eye(8), None), lambda *_: (torch.eye(6), None))
    with pytest.raises(MergeError, match=r"is \(6, 6\), the target's is \(8, 8\). Widths must agree; say on_mismatch"):
        given.read(0, "q")
