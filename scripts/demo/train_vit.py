"""Train the demo source for sounds, a tiny ViT, on the handwritten digits that scikit-learn brings along.

    python scripts/demo/train_vit.py --out demo/mam_demo/demo_vit

Under a minute on one core. Width, depth and heads equal those of the demo's BEATs.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

STEPS, BATCH, WARM_UP, PEAK_RATE = 1500, 64, 100, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1  # [n, 1, 8, 8] in [-1, 1]
    labels = torch.from_numpy(digits.target)
    held_out = torch.arange(len(labels)) % 5 == 0
    fit = (~held_out).nonzero()[:, 0]
    model = ViTForImageClassification(
        ViTConfig(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            image_size=8,
            patch_size=2,
            num_channels=1,
            num_labels=10,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, s / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / STEPS)))
    )
    for step in range(1, STEPS + 1):
        rows = fit[torch.randint(len(fit), (BATCH,))]
        loss = nn.functional.cross_entropy(model(images[rows]).logits, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            with torch.no_grad():
                right = (model(images[held_out]).logits.argmax(-1) == labels[held_out]).float().mean()
            print(f"step {step}  loss {loss.item():.3f}  held-out accuracy {right:.3f}", flush=True)
    model.vit.half().save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
