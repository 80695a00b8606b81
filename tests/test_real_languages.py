"""Real multilingual weights on real Italian prompts: our hypotheses are those of plain transformers, told the language.

The folder `$MAM_REAL_MORE` has `whisper-base` (multilingual) and `prompts-it`; the source is that of `$MAM_REAL`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from safetensors.torch import load_file
from support.runs import jobs, once
from transformers import AutoProcessor, WhisperForConditionalGeneration

from mam.evaluation.workbench import Workbench
from mam.merging.plan import plan_merge
from mam.small_files import read_jsonl

CLIPS = 12
pytestmark = pytest.mark.real


@pytest.fixture
def italian(real, more) -> list[str]:
    """The words of a run of Whisper-base <- MiniLM, whose widths differ, on the first Italian prompts."""
    for name in ("whisper-base", "prompts-it"):
        if not (more / name).is_dir():
            pytest.skip(f"no {more / name} (set MAM_REAL_MORE)")
    return [
        "model=whisper_base_minilm",
        f"model.target={more / 'whisper-base'}",
        f"model.source={real / 'models' / 'all-MiniLM-L6-v2'}",
        *("data=audiofolder", f"data.root={more / 'prompts-it'}", "data.split=all", f"data.limit={CLIPS}"),
    ]


def plain_hypotheses(more: Path, tensors: dict[str, torch.Tensor]) -> list[str]:
    """Whisper's own `generate`, clip by clip, on a model whose Q, K and V are those given."""
    folder = more / "whisper-base"
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    _, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    with (more / "prompts-it" / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:CLIPS]
    texts = []
    for row in rows:
        wave, rate = soundfile.read(more / "prompts-it" / row["file_name"], dtype="float32")
        wave = soxr.resample(wave, rate, 16000).astype(np.float32)
        features = processor(wave, sampling_rate=16000, return_tensors="pt").input_features
        with torch.inference_mode():
            ids = model.generate(features, language="it", task="transcribe")
        texts += processor.batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in texts]


def merged_tensors(words: list[str], more: Path) -> dict[str, torch.Tensor]:
    """Q, K and V by hand: (1 - λ) of the file's and λ of the source's, taken to the target's width as mam projects."""
    config, bench = jobs(words)[0].config, Workbench()
    pair = bench.pair(config)
    pair.merger.apply(plan_merge(config, *pair.shapes, config.seed))
    own = {name: tensor.float() for name, tensor in load_file(more / "whisper-base" / "model.safetensors").items()}
    changed = {}
    for name, tensor in pair.target.model.state_dict().items():
        if ".encoder." in name and any(f".{part}_proj." in name for part in "qkv"):
            changed[name] = tensor.clone()
            if "k_proj" not in name or name.endswith("weight"):
                assert not torch.equal(tensor, own[name])
    assert len(changed) == 30  # six layers, three weights and the biases of Q and V
    return changed


def test_italian_prompts_are_decoded_as_italian(italian, more):
    """Undetected and untold, these prompts were translated into English: a WER of 119 %."""
    outcome = once([*italian, "model.language=italian", "lam=0.05"])
    said = {
        name: [row["prediction"] for row in read_jsonl(outcome.folder / f"{name}.jsonl")]
        for name in ("baseline", "predictions")
    }
    assert said["baseline"] == plain_hypotheses(more, {})
    assert said["predictions"] == plain_hypotheses(more, merged_tensors([*italian, "lam=0.05"], more))
    result = outcome.result
    assert result.data.normalizer == "multilingual" and result.model.decoder.origin == "config"
    assert result.baseline.wer < 0.4
    print(f"WER at λ=0: {result.baseline.wer:.4f}, at 0.05: {result.metrics.wer:.4f}")


def test_italian_is_detected(italian):
    """Without a word the same prompt, and the same hypotheses."""
    outcome = once([*italian, "lam=0"])
    decoder = outcome.result.model.decoder
    assert (decoder.language, decoder.origin) == ("it", "detected") and decoder.share > 0.5
    assert outcome.result.baseline.wer < 0.4
    assert outcome.result.data.normalizer == "multilingual"


def test_a_short_fine_tuning_on_italian_lowers_the_loss(italian, more):
    with (more / "prompts-it" / "metadata.csv").open(newline="", encoding="utf-8") as file:
        names = [Path(row["file_name"]).stem for row in csv.DictReader(file)]
    # Every step sees the same eight clips: losses of unlike batches tell nothing about each other.
    for split, part in (("train", names[12:20]), ("dev", names[20:24]), ("test", names[:2])):
        Path(f"{split}.txt").write_text("\n".join(part))
    words = [word for word in italian if not word.startswith(("data.split", "data.limit"))]
    words += [f"data.ids.{split}={split}.txt" for split in ("train", "dev", "test")]
    lesson = ["train=finetune", "train.steps=10", "train.batch_size=8", "train.learning_rate=1e-5", "train.log_every=1"]
    lesson += ["train.evaluate_every=10", "train.save_model=false", "train.warmup=0"]
    outcome = once([*words, *lesson, "model.language=it", "lam=0"])
    history = read_jsonl(outcome.folder / "metrics.jsonl")
    losses = [entry["loss"] for entry in history if "loss" in entry]
    on_dev = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    print(f"losses {losses}, on dev {on_dev}")
    assert len(losses) == 10 and all(later < losses[0] for later in losses[1:])
    assert losses[-1] < 0.8 * losses[0]
