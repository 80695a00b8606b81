"""Attention alone: an encoder of bare projections, and a source of random ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class Layer(nn.Module):
    """The projections of one attention block."""

    def __init__(self, width: int, key_bias: bool) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=key_bias)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)


def small_encoder(width: int, depth: int, key_bias: bool = True) -> nn.Module:
    """The same random encoder at every call."""
    torch.manual_seed(1)
    encoder = nn.Module()
    encoder.layers = nn.ModuleList(Layer(width, key_bias) for _ in range(depth))
    return encoder


def random_source(width: int) -> Callable[[int, str], tuple[torch.Tensor, torch.Tensor]]:
    """Weight and bias of a source by layer and part."""

    def read(layer: int, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(100 * layer + ord(part))
        return torch.randn(width, width, generator=generator), torch.randn(width, generator=generator)

    return read
