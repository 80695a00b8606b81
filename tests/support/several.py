"""A merge of several sources, worked out on the tensors of the checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from mam.models.locate import locate
from mam.models.sources import Source


def weights(path: Path, layer: int = 0, part: str = "q") -> tuple[torch.Tensor, torch.Tensor]:
    """The weight and bias of one projection."""
    weight, bias = Source(locate(str(path))).read(layer, part)
    assert bias is not None
    return weight, bias


def by_hand(target: Path, lams: dict[Path, float], layer: int = 0, part: str = "q") -> list[torch.Tensor]:
    """(1 - Σλ) W_t + Σ λ_i W_i of a weight and a bias."""
    rest = 1 - sum(lams.values())
    sides = [[rest * tensor for tensor in weights(target, layer, part)]]
    sides += [[lam * tensor for tensor in weights(path, layer, part)] for path, lam in lams.items()]
    return [sum(tensors[1:], start=tensors[0]) for tensors in zip(*sides, strict=True)]
