"""Train a demo source, a tiny BERT, by masked-word prediction on the King James Bible.

    apt-get install bible-kjv
    bible -f gen1:1-rev22:21 > outputs/demo/kjv.txt
    python scripts/demo/train_source.py --text outputs/demo/kjv.txt --out mam/assets/demo_bert
    python scripts/demo/train_source.py --text outputs/demo/kjv.txt --ladder mam/assets/ladder

The first takes a quarter of an hour on two cores; width, depth and heads equal those of the demo target. ``--ladder``
trains BERTs of other shapes, 2000 steps each, and keeps their Q, K and V alone, which is all that a merge reads; that
takes an hour on one core. The text is not bundled.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForMaskedLM

VOCABULARY, LENGTH, STEPS, BATCH, WARM_UP, PEAK_RATE = 1000, 64, 8000, 32, 500, 1e-3
LADDER_STEPS = 2000
# layers, width, heads: each at and below the demo target's, in all combinations, and each above it alone.
LADDER = [
    *((layers, width, heads) for layers in (2, 4) for width in (64, 128) for heads in (2, 4)),
    *((6, 128, 4), (4, 192, 4), (4, 128, 8)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--ladder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    verses = [re.sub(r"^\S*\d+:\d+\s+", "", line) for line in arguments.text.read_text().splitlines() if line.strip()]
    wordpiece = BertWordPieceTokenizer(lowercase=True)
    wordpiece.train_from_iterator(verses, vocab_size=VOCABULARY, min_frequency=2, show_progress=False)
    if arguments.out:
        model = train(wordpiece, verses, 4, 128, 4, STEPS, arguments.seed)
        model.half().save_pretrained(arguments.out)
        wordpiece.save_model(str(arguments.out))
    for layers, width, heads in LADDER if arguments.ladder else ():
        model = train(wordpiece, verses, layers, width, heads, LADDER_STEPS, arguments.seed)
        kept = {name: tensor for name, tensor in model.half().state_dict().items() if ".attention.self." in name}
        folder = arguments.ladder / f"{layers}x{width}x{heads}"
        folder.mkdir(parents=True, exist_ok=True)
        model.config.save_pretrained(folder)
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def train(
    wordpiece: BertWordPieceTokenizer, verses: list[str], layers: int, width: int, heads: int, steps: int, seed: int
) -> BertForMaskedLM:
    """A BERT of this shape after so many steps."""
    torch.manual_seed(seed)
    index = wordpiece.get_vocab()
    ids = torch.tensor([i for verse in wordpiece.encode_batch(verses, add_special_tokens=False) for i in verse.ids])
    windows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(index),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=2 * width,
            max_position_embeddings=128,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).train()
    print(f"{layers} x {width}, {heads} heads: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    held_out, windows = windows[::50], windows[torch.arange(len(windows)) % 50 != 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, s / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps)))
    )

    def masked_loss(batch: torch.Tensor) -> torch.Tensor:
        """15 % are predicted: of these 80 % are masked, 10 % replaced, 10 % left (Devlin et al. 2019)."""
        chosen = torch.rand(batch.shape) < 0.15
        fate = torch.rand(batch.shape)
        shown = batch.where(~(chosen & (fate < 0.8)), torch.tensor(index["[MASK]"]))
        shown = shown.where(~(chosen & (fate > 0.9)), torch.randint(len(index), batch.shape))
        loss: torch.Tensor = model(input_ids=shown, labels=batch.where(chosen, torch.tensor(-100))).loss
        return loss

    start = time.time()
    for step in range(1, steps + 1):
        loss = masked_loss(windows[torch.randint(len(windows), (BATCH,))])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            with torch.no_grad():
                spent = time.time() - start
                print(f"step {step}  held-out loss {masked_loss(held_out).item():.3f}  {spent:.0f} s", flush=True)
    return model


if __name__ == "__main__":
    main()
