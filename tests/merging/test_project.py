"""A source of another width in the target's stream: an isometry that loses as little as can be."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.alignment import HEADS, D, pairs

from mam.merging.basis import Heads, LayerPair, moved, nearest_isometry
from mam.merging.fits import distance
from mam.merging.project import projected
from mam.merging.tables import PROJECTS


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(list(PROJECTS)), st.sampled_from([4, 6, 12]), st.sampled_from([(2, 2), (2, 1)]))
def test_a_projection_is_an_isometry_of_the_stream(name, width, heads):
    given = pairs(width=width)
    basis = projected(given, Heads(*heads, 3), name)
    assert basis.stream.shape == (D, width)
    least = min(D, width)
    gram = basis.stream.T @ basis.stream if width <= D else basis.stream @ basis.stream.T
    torch.testing.assert_close(gram, torch.eye(least, dtype=torch.float64))
    for one in moved(given, basis):
        weight, bias = one.source["q"]
        assert weight.shape == (D, D) and bias.shape == (D,)
    if width <= D:  # nothing of a narrower source is lost
        lengths = [torch.stack([one.source[p][0].norm() for p in "qkv"]) for one in (given[0], moved(given, basis)[0])]
        torch.testing.assert_close(*lengths, rtol=1e-4, atol=1e-5)


def test_a_narrower_source_computes_the_same_logits_in_the_wider_stream():
    """q·k of each head on x is q·k on P x, whatever the projection: 2 heads of 3 become 2 of 4."""
    given = pairs(width=6)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)

    def logits(block, x, size):
        q, k = (
            (x @ block[part][0].double().T + block[part][1].double()).view(5, 2, size).transpose(0, 1) for part in "qk"
        )
        return q @ k.transpose(-1, -2)

    for name in PROJECTS:
        basis = projected(given, HEADS, name)
        wide = moved(given, basis)[1].source
        torch.testing.assert_close(
            logits(wide, x @ basis.stream.T, 4), logits(given[1].source, x, 3), rtol=0, atol=1e-4
        )


def test_a_wider_source_keeps_the_strongest_directions_of_its_heads():
    """A head of 6 rows of which 4 are zero loses nothing when 4 are kept."""
    given = pairs(width=12, depth=1)
    for part in "qkv":
        weight = given[0].source[part][0]
        weight[[0, 1, 6, 7]] = 0
    basis = projected(given, HEADS, "random")
    for kind, parts in (("qk", "qk"), ("v", "v")):
        rows = basis.rows[0, kind]
        for part in parts:
            kept = given[0].source[part][0].double()
            torch.testing.assert_close(rows.T @ (rows @ kept), kept)


def test_projection_procrustes_finds_a_hidden_narrow_source():
    small = pairs(width=6)
    placed = moved(small, projected(small, HEADS, "random"))
    given = [LayerPair(one.layer, wide.source, one.source) for one, wide in zip(small, placed, strict=True)]
    for one in moved(given, projected(given, HEADS, "procrustes")):
        assert distance(one, HEADS) < 1e-6


def test_random_projections_follow_the_seed():
    given = pairs(width=6)
    first, again, other = (projected(given, Heads(2, 2, seed), "random").stream for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_nearest_isometry_by_hand():
    torch.testing.assert_close(
        nearest_isometry(torch.tensor([[3.0, 0.0], [0.0, -2.0], [0.0, 0.0]])),
        torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]),
    )
