"""Train the demo target, a tiny HuBERT with a CTC head, on the speech that synthesise.py made.

    python scripts/demo/train_target.py --data outputs/demo/training --out demo/mam_demo/demo_hubert

About ten minutes on two cores. The convolutional front-end has group norm, as HuBERT-base has, and therefore runs
clip by clip at its true length, here as in evaluation: padding would enter the norm's statistics.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import HubertConfig, HubertForCTC, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "|"]  # <pad> is CTC's blank, | stands between words
VOCABULARY = [*SPECIAL, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "'"]
STEPS, BATCH, WARM_UP, PEAK_RATE = 3500, 8, 200, 2e-3


def tiny_hubert() -> HubertForCTC:
    """HuBERT-base's shape in small: 4 layers x 128, standard strides, post-norm, group norm in the front-end."""
    return HubertForCTC(
        HubertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            conv_dim=[32, 64, 64, 64, 96, 96, 128],
            num_conv_pos_embeddings=32,
            num_conv_pos_embedding_groups=4,
            feat_extract_norm="group",
            do_stable_layer_norm=False,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            final_dropout=0.0,
            layerdrop=0.0,
            mask_time_prob=0.0,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def ctc_loss(model: HubertForCTC, waves: list[torch.Tensor], texts: list[list[int]]) -> torch.Tensor:
    """Mean over the batch of the CTC loss per character."""
    frames = [model.hubert.feature_extractor(wave[None])[0].T for wave in waves]  # [t, d] each
    lengths = torch.tensor([len(f) for f in frames])
    hidden = model.hubert.feature_projection(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True))
    mask = torch.arange(hidden.shape[1]) < lengths[:, None]
    logits = model.lm_head(model.hubert.encoder(hidden, attention_mask=mask)[0])
    log_probabilities = logits.log_softmax(-1).transpose(0, 1)  # [t, b, vocabulary]
    targets = torch.tensor([i for text in texts for i in text])
    target_lengths = torch.tensor([len(text) for text in texts])
    return torch.nn.functional.ctc_loss(
        log_probabilities, targets, lengths, target_lengths, blank=0, zero_infinity=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)

    index = {token: i for i, token in enumerate(VOCABULARY)}
    clips = []
    with (arguments.data / "metadata.csv").open() as file:
        for row in csv.DictReader(file):
            wave, _ = soundfile.read(arguments.data / row["file_name"], dtype="float32")
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
            text = [index[c] for c in row["transcription"].upper().replace(" ", "|")]
            clips.append((torch.from_numpy(wave), text))
    clips.sort(key=lambda clip: len(clip[0]))
    batches = [clips[i : i + BATCH] for i in range(0, len(clips), BATCH)]

    model = tiny_hubert().train()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(clips)} clips")
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=PEAK_RATE
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, s / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / STEPS)))
    )
    start, queue, average = time.time(), [], 0.0
    for step in range(1, STEPS + 1):
        if not queue:
            queue = rng.sample(batches, len(batches))
        batch = queue.pop()
        loss = ctc_loss(model, [wave for wave, _ in batch], [text for _, text in batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average += (loss.item() - average) / min(step, 100)
        if step % 100 == 0:
            print(f"step {step}  loss {average:.3f}  {time.time() - start:.0f} s", flush=True)

    arguments.out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(arguments.out)
    vocabulary = arguments.out / "vocab.json"
    vocabulary.write_text(json.dumps(index))
    tokenizer = Wav2Vec2CTCTokenizer(vocabulary, pad_token="<pad>", word_delimiter_token="|", do_lower_case=False)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False, do_normalize=True)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
