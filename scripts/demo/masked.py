"""What the demo's BERTs share: the loss on masked words, and the schedule of the learning rate."""

from __future__ import annotations

import math

import torch
from transformers import BertForMaskedLM


def masked_loss(model: BertForMaskedLM, batch: torch.Tensor, mask: int, vocabulary: int) -> torch.Tensor:
    """15 % are predicted: of these 80 % are masked, 10 % replaced, 10 % left (Devlin et al. 2019)."""
    chosen = torch.rand(batch.shape) < 0.15
    fate = torch.rand(batch.shape)
    shown = batch.where(~(chosen & (fate < 0.8)), torch.tensor(mask))
    shown = shown.where(~(chosen & (fate > 0.9)), torch.randint(vocabulary, batch.shape))
    loss: torch.Tensor = model(input_ids=shown, labels=batch.where(chosen, torch.tensor(-100))).loss
    return loss


def warm_up_and_cosine(optimizer: torch.optim.Optimizer, warm_up: int, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """A linear rise times a cosine to 0."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, s / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps)))
    )
