"""Train the demo source, a tiny BERT, by masked-word prediction on the King James Bible.

    apt-get install bible-kjv
    bible -f gen1:1-rev22:21 > outputs/demo/kjv.txt
    python scripts/demo/train_source.py --text outputs/demo/kjv.txt --out demo/mam_demo/demo_bert

About a quarter of an hour on two cores. Width, depth and heads equal those of the demo target. The text is not bundled.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import torch
from masked import masked_loss, warm_up_and_cosine
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForMaskedLM

VOCABULARY, LENGTH, STEPS, BATCH, WARM_UP, PEAK_RATE = 1000, 64, 8000, 32, 500, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)

    verses = [re.sub(r"^\S*\d+:\d+\s+", "", line) for line in arguments.text.read_text().splitlines() if line.strip()]
    wordpiece = BertWordPieceTokenizer(lowercase=True)
    wordpiece.train_from_iterator(verses, vocab_size=VOCABULARY, min_frequency=2, show_progress=False)
    index = wordpiece.get_vocab()
    ids = torch.tensor([i for verse in wordpiece.encode_batch(verses, add_special_tokens=False) for i in verse.ids])
    windows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(index),
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=128,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).train()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(ids)} word pieces")
    held_out, windows = windows[::50], windows[torch.arange(len(windows)) % 50 != 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = warm_up_and_cosine(optimizer, WARM_UP, STEPS)

    start = time.time()
    for step in range(1, STEPS + 1):
        batch = windows[torch.randint(len(windows), (BATCH,))]
        loss = masked_loss(model, batch, index["[MASK]"], len(index))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            with torch.no_grad():
                last = masked_loss(model, held_out, index["[MASK]"], len(index)).item()
                print(
                    f"step {step}  held-out loss {last:.3f}  {time.time() - start:.0f} s",
                    flush=True,
                )

    arguments.out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(arguments.out)
    wordpiece.save_model(str(arguments.out))


if __name__ == "__main__":
    main()
