"""Models in memory: their state, and the queries of a tiny HuBERT."""

from __future__ import annotations

import torch
from torch import nn
from transformers import HubertForCTC


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def query(model: HubertForCTC, layer: int) -> nn.Linear:
    return model.hubert.encoder.layers[layer].attention.q_proj
