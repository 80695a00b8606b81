"""Pairs of attention blocks without a model around them, for alignments and projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mam.merging.basis import Basis, Heads, LayerPair, moved

D, HEADS = 8, Heads(2, 2)


def block(seed: int, width: int = D) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Random Q, K, V and O."""
    generator = torch.Generator().manual_seed(seed)
    return {
        part: (torch.randn(width, width, generator=generator), torch.randn(width, generator=generator))
        for part in "qkvo"
    }


def pairs(seed: int = 0, depth: int = 3, width: int = D) -> list[LayerPair]:
    return [LayerPair(i, block(seed + 2 * i), block(seed + 2 * i + 1, width)) for i in range(depth)]


def scrambled(given: list[LayerPair], basis: Basis) -> list[LayerPair]:
    """The same targets, with sources that are these targets in another basis."""
    return moved([LayerPair(one.layer, one.target, one.target) for one in given], basis)


def permutation(order: Sequence[int]) -> torch.Tensor:
    return torch.eye(len(order), dtype=torch.float64)[list(order)]
