"""Real weights, real recordings: our hypotheses are those of plain transformers."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import soundfile
import soxr
import torch
from safetensors.torch import load_file
from support.runs import jobs
from transformers import AutoProcessor, WhisperForConditionalGeneration

from mam.evaluation.workbench import Workbench
from mam.runs.run import run
from mam.small_files import read_jsonl


def plain_hypotheses(real, lam: float) -> list[str]:
    """Whisper's own `generate` on a model merged by hand, clip by clip."""
    folder = real / "models" / "whisper-tiny.en"
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    source = {k: v.float() for k, v in load_file(real / "models" / "all-MiniLM-L6-v2" / "model.safetensors").items()}
    with torch.no_grad():
        for i, layer in enumerate(model.model.encoder.layers):
            for ours, theirs in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
                linear, name = getattr(layer.self_attn, ours), f"encoder.layer.{i}.attention.self.{theirs}"
                linear.weight.copy_((1 - lam) * linear.weight + lam * source[f"{name}.weight"])
                if linear.bias is not None:
                    linear.bias.copy_((1 - lam) * linear.bias + lam * source[f"{name}.bias"])
    texts = []
    with (real / "LJSpeech-1.1" / "metadata.csv").open(newline="") as file:
        for row in csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE):
            wave, rate = soundfile.read(real / "LJSpeech-1.1" / "wavs" / f"{row[0]}.wav", dtype="float32")
            wave = soxr.resample(wave, rate, 16000).astype(np.float32)
            features = processor(wave, sampling_rate=16000, return_tensors="pt").input_features
            with torch.inference_mode():
                texts += processor.batch_decode(model.generate(features), skip_special_tokens=True)
    return [text.strip() for text in texts]


@pytest.mark.real
@pytest.mark.slow
def test_whisper_minilm_on_lj_speech(real):
    bench = Workbench()
    words = [
        "model=whisper_minilm",
        f"model.target={real / 'models' / 'whisper-tiny.en'}",
        f"model.source={real / 'models' / 'all-MiniLM-L6-v2'}",
        "data=ljspeech",
        f"data.root={real / 'LJSpeech-1.1'}",
        "data.split=all",
        "data.normalizer=hubert_english",
        "lam=0.05",
    ]
    outcome = run(jobs(words)[0], bench)
    for name, lam in (("baseline.jsonl", 0.0), ("predictions.jsonl", 0.05)):
        assert [row["prediction"] for row in read_jsonl(outcome.folder / name)] == plain_hypotheses(real, lam)
    result = outcome.result
    assert (result.data.n, result.metrics.words) == (16, 279)
    assert result.baseline.wer == pytest.approx(11 / 279) and result.metrics.wer == pytest.approx(6 / 279)
    assert not any("LibriVox" in sentence for sentence in result.diagnostics)  # is about HuBERT and wav2vec 2.0


def real_sounds(real, *words: str) -> list[str]:
    return [
        "model=whisper_minilm_events",
        f"model.target={real / 'models' / 'whisper-tiny.en'}",
        f"model.source={real / 'models' / 'all-MiniLM-L6-v2'}",
        "data=esc50",
        f"data.root={real / 'ESC-50-master'}",
        *words,
    ]


@pytest.mark.real
@pytest.mark.slow
def test_whisper_minilm_on_esc50(real):
    """Features of three clips against plain transformers; all five folds are tested, each on a probe of the others."""
    bench, words = Workbench(), real_sounds(real, "lam=0")
    outcome = run(jobs(words)[0], bench)
    result = outcome.result
    assert (result.data.n, len(result.metrics.fold_errors)) == (100, 5)
    assert [fold.test for fold in result.head.folds] == [20] * 5
    assert 0 < result.baseline.error < 0.4
    audio = bench.audio(jobs(words)[0].config)
    folder = real / "models" / "whisper-tiny.en"
    encoder = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval().model.encoder
    extractor = AutoProcessor.from_pretrained(folder).feature_extractor
    items = bench.baseline(jobs(words)[0].config, 0).items
    for i in (0, 50, 99):
        features = extractor(audio.wave(i), sampling_rate=16000, return_tensors="pt").input_features
        with torch.inference_mode():
            pooled = encoder(features).last_hidden_state[0, :250].mean(0)  # 5 s of 20 ms frames
        np.testing.assert_allclose(items[i], pooled.numpy(), atol=1e-3)
