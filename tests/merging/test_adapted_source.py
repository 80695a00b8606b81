"""What the target is given: read, checked, and taken to the target's basis."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.alignment import D, block
from support.encoder import random_source
from support.plans import plan_by_hand

from mam.errors import MergeError
from mam.merging.adapted_source import QKV, AdaptedSource, layer_of
from mam.merging.basis import Basis, LayerPair
from mam.merging.controls import Place, haar
from mam.merging.fits import cosine
from mam.merging.mixing import substituted
from mam.merging.plan import MergePlan
from mam.merging.shape import Shape


def plan(control: str = "none", **fields) -> MergePlan:
    return plan_by_hand(Shape(2, D, 2), parts="qkvo", control=control, **fields)


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

    plain, aligned = (AdaptedSource(plan(align=name), read("own"), read("source")) for name in ("none", "procrustes"))
    assert torch.equal(plain.read(0, "q")[0], block(0)["q"][0])
    plain.read(0, "q")
    assert count["source"] == 2
    aligned.read(0, "q")
    seen = count["source"]
    assert torch.equal(aligned.read(0, "q")[0], aligned.read(0, "q")[0]) and count["source"] == seen
    assert AdaptedSource.key(plan()) == AdaptedSource.key(plan(alpha=0.3)) != AdaptedSource.key(plan(align="heads"))


def test_aligned_noise_is_aligned_as_the_source_is():
    """Drawn first, then aligned: it keeps its singular values, and what the alignment finds in it is not nothing."""
    target = source = random_source(8)

    def read(layer: int, part: str):
        return source(layer + 50, part)

    cosines = {}
    for align in ("none", "procrustes"):
        chosen = plan_by_hand(Shape(3, 8, 2), align=align, control="aligned_random")
        one, again, other = (
            AdaptedSource(replace(chosen, draw=draw), target, read).read(1, "q")[0] for draw in (0, 0, 1)
        )
        assert torch.equal(one, again) and not torch.allclose(one, other)
        torch.testing.assert_close(torch.linalg.svdvals(one), torch.linalg.svdvals(read(1, "q")[0]))
        pair = LayerPair(1, layer_of(target, 1, QKV), layer_of(AdaptedSource(chosen, target, read).read, 1, QKV))
        cosines[align] = cosine(pair)
        assert AdaptedSource.key(chosen) != AdaptedSource.key(replace(chosen, draw=1))
    assert cosines["procrustes"] > cosines["none"] + 0.1
    plain = plan_by_hand(Shape(3, 8, 2), control="random_spectrum")
    noise = substituted(plain, 1, "q", target(1, "q"), (read(1, "q"),))
    bare = plan_by_hand(Shape(3, 8, 2), control="aligned_random")
    assert torch.equal(noise[0], AdaptedSource(bare, target, read).read(1, "q")[0])


def test_another_width_without_projection_is_refused_by_the_tensor_too():
    given = AdaptedSource(plan(), lambda *_: (torch.eye(8), None), lambda *_: (torch.eye(6), None))
    with pytest.raises(
        MergeError, match=r"its shape is \(6, 6\), that of the target is \(8, 8\). Widths must agree: set on_mismatch"
    ):
        given.read(0, "q")


ANOTHER = [{"seed": 1}, {"pairs": {0: 1, 1: 0}}, {"pairs": {0: 0}}, {"control": "self"}, {"project": "svd"}]


@pytest.mark.parametrize("fields", ANOTHER, ids=str)
def test_plans_that_give_something_else_have_another_key(fields):
    assert AdaptedSource.key(plan(**fields)) != AdaptedSource.key(plan())


@pytest.mark.parametrize("fields", [{"alpha": 0.5}, {"draw": 2}, {"heads": (0,)}], ids=str)
def test_plans_that_give_the_same_have_one_key(fields):
    assert AdaptedSource.key(plan(**fields)) == AdaptedSource.key(plan())


def test_the_moments_of_o_move_with_the_values_and_those_of_the_others_with_the_stream():
    """Worked out on the inputs themselves: O hears values, Q, K and V hear the stream."""
    generator = torch.Generator().manual_seed(0)
    stream, qk, v = (haar(D, Place(0, 0), name) for name in ("stream", "qk", "v"))
    basis = Basis(stream, {(0, "qk"): qk, (1, "v"): v})
    x = torch.randn(30, D, dtype=torch.float64, generator=generator)
    heard = x.T @ x / 30

    def seen(matrix):
        moved = torch.stack([matrix @ one for one in x])
        return sum(torch.outer(one, one) for one in moved) / 30

    for part in "qkv":
        torch.testing.assert_close(basis.moved_moments(1, part, heard), seen(stream))
    torch.testing.assert_close(basis.moved_moments(1, "o", heard), seen(v))
    assert torch.equal(basis.moved_moments(0, "o", heard), heard)  # no map of the values of this layer


@pytest.mark.parametrize("align", ["procrustes", "permute", "heads"])
def test_what_a_projection_makes_of_what_it_hears_is_as_strong_in_any_basis(align):
    """E‖Wx‖² = tr(W G Wᵀ) of each projection, O too; G and W are moved apart from each other."""

    def read(offset):
        return lambda layer, part: (block if part != "o" else outputs)(10 * layer + offset)[part]

    def outputs(seed):
        return {"o": block(seed + 500)["q"]}

    given = AdaptedSource(plan(align=align), read(0), read(1))
    for layer in range(2):
        for i, part in enumerate("qkvo"):
            x = torch.randn(20, D, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) * torch.arange(
                1, D + 1
            )
            heard, weight = x.T @ x / 20, read(1)(layer, part)[0].double()
            moved, new = given.moments(layer, part, heard), given.read(layer, part)[0].double()
            expected = (x @ weight.T).square().sum() / 20
            torch.testing.assert_close((new @ moved @ new.T).trace(), expected, rtol=1e-4, atol=1e-4)
