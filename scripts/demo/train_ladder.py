"""Train the demo's ladder of sources: tiny BERTs of several shapes, of which only Q, K and V are kept.

    python scripts/demo/train_ladder.py --out demo/mam_demo/ladder

They learn to fill in masked words of the demo's language (`grammar.py`), on sentences that are in no dev or test split.
A merge reads Q, K and V alone; with everything else the files would be ten times as large. Ten minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import time
from pathlib import Path

import torch
from grammar import sentence
from masked import masked_loss, warm_up_and_cosine
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM

# Layers, width, heads: at and below the demo target's 4 x 128 with 4 heads in all combinations; above it one at a time.
SHAPES = [
    *((layers, width, heads) for layers in (2, 4) for width in (64, 128) for heads in (2, 4)),
    *((6, 128, 4), (4, 192, 4), (4, 128, 8)),
]
ASSETS = Path(__file__).parents[2] / "demo" / "mam_demo"
SENTENCES, LENGTH, STEPS, BATCH, WARM_UP, PEAK_RATE = 20_000, 24, 1500, 32, 500, 1e-3
SPECIAL = ["[PAD]", "[MASK]", "[SEP]"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    windows, words = corpus(arguments.seed)
    for layers, width, heads in SHAPES:
        model = train(windows, words, layers, width, heads, arguments.seed)
        kept = {name: tensor for name, tensor in model.half().state_dict().items() if ".attention.self." in name}
        folder = arguments.out / f"{layers}x{width}x{heads}"
        folder.mkdir(parents=True, exist_ok=True)
        model.config.save_pretrained(folder)
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def corpus(seed: int) -> tuple[torch.Tensor, list[str]]:
    """Sentences one after the other, cut into windows ``[n, LENGTH]`` of word numbers; and the vocabulary."""
    withheld = set()
    for data in ("demo_speech", "demo_speech_shift"):
        with (ASSETS / data / "metadata.csv").open() as file:
            rows = list(csv.DictReader(file))
        withheld |= {row["transcription"] for row in rows if not row["file_name"].startswith("train")}
    rng = random.Random(seed)
    drawn = [text for text in (sentence(rng) for _ in range(SENTENCES)) if text not in withheld]
    tokens = [word for text in drawn for word in (*text.split(), "[SEP]")]
    words = [*SPECIAL, *sorted(set(tokens) - set(SPECIAL))]
    numbers = {word: i for i, word in enumerate(words)}
    ids = torch.tensor([numbers[token] for token in tokens])
    return ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH), words


def train(windows: torch.Tensor, words: list[str], layers: int, width: int, heads: int, seed: int) -> BertForMaskedLM:
    torch.manual_seed(seed)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(words),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=2 * width,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=width**-0.5,
        )
    ).train()
    held_out, windows = windows[::50], windows[torch.arange(len(windows)) % 50 != 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = warm_up_and_cosine(optimizer, WARM_UP, STEPS)

    start = time.time()
    for _ in range(STEPS):
        batch = windows[torch.randint(len(windows), (BATCH,))]
        loss = masked_loss(model, batch, words.index("[MASK]"), len(words))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        last = masked_loss(model, held_out, words.index("[MASK]"), len(words)).item()
        spent, uniform = time.time() - start, math.log(len(words))
        print(
            f"{layers} x {width}, {heads} heads: held-out loss {last:.3f}"
            f" (a uniform guess has {uniform:.2f}), {spent:.0f} s",
            flush=True,
        )
    return model


if __name__ == "__main__":
    main()
