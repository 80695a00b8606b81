"""The linear merge, in plain transformers and by mam, for one to be compared with the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import BertModel

from mam.merging.options import MergeOptions
from mam.merging.plan import MergePlan
from mam.merging.shape import Shape
from mam.models.ctc import CTCTarget
from support.models import HEADS, LAYERS, SOURCE_LAYERS, WIDTH

PROJECTIONS = (("q_proj", "k_proj", "v_proj"), ("linear_q", "linear_k", "linear_v"))


def merge_by_hand(attentions: list[torch.nn.Module], source_folder: Path, lam: float) -> None:
    """The merge in plain transformers: a whole BERT loaded, parameters mixed one by one."""
    source = BertModel.from_pretrained(source_folder, dtype=torch.float32)
    with torch.no_grad():
        for attention, layer in zip(attentions, source.encoder.layer, strict=False):
            names = next(names for names in PROJECTIONS if hasattr(attention, names[0]))
            for ours, theirs in zip(names, ("query", "key", "value"), strict=True):
                mine, other = getattr(attention, ours), getattr(layer.attention.self, theirs)
                mine.weight.copy_((1 - lam) * mine.weight + lam * other.weight)
                if mine.bias is not None:
                    mine.bias.copy_((1 - lam) * mine.bias + lam * other.bias)


def linear_plan(lam: float) -> MergePlan:
    """Q, K and V of every layer with the source's layer of the same number."""
    target, source = Shape(LAYERS, WIDTH, HEADS), Shape(SOURCE_LAYERS, WIDTH, HEADS)
    pairs = {layer: layer for layer in range(LAYERS)}
    return MergePlan(MergeOptions(), target, source, (lam,) * LAYERS, pairs, ("q", "k", "v"))


def logits(target: CTCTarget, waves: list[np.ndarray]) -> list[torch.Tensor]:
    """What a target says of a batch of recordings, in one go."""
    with torch.inference_mode():
        return target.logits(target.advance(target.front(waves), 0, target.depth))
