"""Train the demo target for sounds, a tiny BEATs, on sounds that sounds.py makes: other recordings of the same classes.

    python scripts/demo/train_beats.py --out demo/mam_demo/demo_beats

A few minutes on one core. It is trained to classify and saved as a pre-trained checkpoint, without its classes: the
demo fits a probe on its features, fold by fold, as one does with BEATs.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from sounds import CLASSES, SAMPLES, training_clip
from torch import nn

from mam.models.beats import BeatsModel

CLIPS, STEPS, BATCH, WARM_UP, PEAK_RATE = 4000, 2000, 32, 100, 2e-3
CFG = {
    "input_patch_size": 16,
    "embed_dim": 64,
    "conv_bias": False,
    "encoder_layers": 4,
    "encoder_embed_dim": 96,
    "encoder_ffn_embed_dim": 192,
    "encoder_attention_heads": 4,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": True,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "dropout_input": 0.0,
    "conv_pos": 32,
    "conv_pos_groups": 4,
    "relative_position_embedding": True,
    "num_buckets": 64,
    "max_distance": 160,
    "gru_rel_pos": True,
    "finetuned_model": True,
    "predictor_dropout": 0.0,
    "predictor_class": len(CLASSES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    start = time.time()
    waves = torch.from_numpy(np.stack([training_clip(i) for i in range(CLIPS)]))
    labels = torch.arange(CLIPS) % len(CLASSES)
    assert waves.shape == (CLIPS, SAMPLES)
    print(f"{CLIPS} clips made in {time.time() - start:.0f} s")
    model = BeatsModel(CFG).train()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    with torch.no_grad():
        features = torch.cat([model.fbank(block) for block in waves.split(200)])  # [n, f, 128]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, s / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / STEPS)))
    )
    held_out = torch.arange(CLIPS) >= CLIPS - 300
    fit = (~held_out).nonzero()[:, 0]

    def logits(rows: torch.Tensor) -> torch.Tensor:
        return model.classify(model.encoder(model.embed(features[rows]), None), None)

    for step in range(1, STEPS + 1):
        rows = fit[torch.randint(len(fit), (BATCH,))]
        loss = nn.functional.cross_entropy(logits(rows), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            with torch.no_grad():
                error = (logits(held_out.nonzero()[:, 0]).argmax(-1) != labels[held_out]).float().mean()
            print(
                f"step {step}  loss {loss.item():.3f}  held-out error {error:.3f}  {time.time() - start:.0f} s",
                flush=True,
            )

    weights = {name: tensor.half() for name, tensor in model.state_dict().items() if not name.startswith("predictor")}
    saved = BeatsModel(CFG | {"finetuned_model": False})
    saved.load_state_dict(weights)
    saved.half().save_checkpoint(arguments.out / "beats.pt")


if __name__ == "__main__":
    main()
