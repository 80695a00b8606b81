"""What the benchmarks share: pairs with random weights at a published size, clips, clocks, peaks of memory."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import (
    BertConfig,
    BertModel,
    HubertConfig,
    HubertForCTC,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
)

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "'"]
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


def make_pair(folder: Path, size: dict[str, int] = BASE) -> None:
    """HuBERT (group norm as in base, layer norm as in large) and BERT with random weights, in ``folder``."""
    torch.manual_seed(0)
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True} if size == LARGE else {}
    config = HubertConfig(vocab_size=len(LETTERS), layerdrop=0.0, **size, **large)
    HubertForCTC(config).save_pretrained(folder / "hubert")
    BertModel(BertConfig(vocab_size=100, **size)).save_pretrained(folder / "bert")
    vocabulary = folder / "hubert" / "vocab.json"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(LETTERS)}))
    Wav2Vec2Processor(
        feature_extractor=Wav2Vec2FeatureExtractor(), tokenizer=Wav2Vec2CTCTokenizer(vocabulary)
    ).save_pretrained(folder / "hubert")


def merged_by_hand(folder: Path, lam: float) -> HubertForCTC:
    """Return the target of `make_pair`, merged as a user's own loop would do it: both models loaded, one state dict."""
    target = HubertForCTC.from_pretrained(folder / "hubert", dtype=torch.float32)
    source = BertModel.from_pretrained(folder / "bert", dtype=torch.float32).state_dict()
    state = target.state_dict()
    for layer in range(target.config.num_hidden_layers):
        for ours, theirs in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            for kind in ("weight", "bias"):
                name = f"hubert.encoder.layers.{layer}.attention.{ours}.{kind}"
                other = source[f"encoder.layer.{layer}.attention.self.{theirs}.{kind}"]
                state[name] = (1 - lam) * state[name] + lam * other
    target.load_state_dict(state)
    return target


def pair_words(folder: Path, size: dict[str, int] = BASE) -> list[str]:
    """The words of `mam run` that choose the pair of `make_pair`."""
    shape = {
        "layers": size["num_hidden_layers"],
        "width": size["hidden_size"],
        "heads": size["num_attention_heads"],
    }
    sides = {"target": "hubert", "source": "bert"}
    words = [f"model.{side}={folder / name}" for side, name in sides.items()]
    return words + [f"model.{side}_shape.{key}={value}" for side in sides for key, value in shape.items()]


def write_clips(root: Path, seconds: Sequence[float]) -> Path:
    """An audiofolder of noise, one clip for each length; what is said in it is made up."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["file_name,transcription"]
    for i, length in enumerate(seconds):
        wave = 0.1 * rng.standard_normal(int(16000 * length))
        soundfile.write(root / f"{i:03}.flac", wave, 16000)
        lines.append(f"{i:03}.flac,{' '.join(['WORD'] * max(1, round(2.5 * length)))}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_of(work: Callable[[], object], times: int = 3, warm_up: bool = True) -> float:
    """Median seconds of several calls after one to warm up."""
    if warm_up:
        work()
    return statistics.median(timed(work) for _ in range(times))


def peak_memory() -> float:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def extra_memory(work: Callable[[], object]) -> float:
    """MB of its own memory (mapped files left out) that a call needs at its peak beyond what was there before."""

    def now() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

    before, peak, is_done = now(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_done.wait(0.001):
            peak = max(peak, now())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    is_done.set()
    watcher.join()
    return max(peak, now()) - before


def peak_alone(script: str, *words: str) -> float:
    """Peak memory, MB, of ``script`` in a process of its own, which prints it last."""
    shown = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=True).stdout
    return float(shown.split()[-1])
