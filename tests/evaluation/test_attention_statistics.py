"""Entropy and scale of the attention, against what transformers itself computes."""

from __future__ import annotations

import math

import pytest
import torch
from support.audio import write_folder
from support.models import LAYERS
from support.runs import data_words, jobs, once, pair_words
from transformers import AutoProcessor, HubertForCTC

from mam.evaluation import attention_statistics
from mam.evaluation.attention_statistics import UNIFORM, AttentionChange, AttentionStatistics, measure
from mam.evaluation.workbench import Workbench
from mam.merging.plan import plan_merge


def measured(words: list[str]):
    config = jobs(words)[0].config
    bench = Workbench()
    pair = bench.pair(config)
    bench.unmerged_attention(config)
    pair.merger.apply(plan_merge(config, *pair.shapes, config.seed))
    return bench.attention(config, list(range(LAYERS))), bench.audio(config)


def test_equals_transformers_own_attention(hubert_group, bert, tmp_path):
    words = [*pair_words(hubert_group, bert), *data_words(write_folder(tmp_path / "one", [0.9]))]
    change, audio = measured([*words, "lam=0"])
    plain = HubertForCTC.from_pretrained(hubert_group, dtype=torch.float32, attn_implementation="eager").eval()
    inputs = AutoProcessor.from_pretrained(hubert_group)(audio.wave(0), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        weights = plain(inputs.input_values, output_attentions=True).attentions
    expected = [float(-(w * w.log()).sum(-1).mean()) / math.log(w.shape[-1]) for w in weights]
    assert change.before.entropy == pytest.approx(expected, abs=1e-4)
    assert change.after == change.before


def test_shrinking_softens_attention_as_the_formula_says(words):
    """Q and K without biases shrink to (1-λ), so the logits' spread to (1-λ)²; the first layer's input is the same."""
    change, _ = measured([*words, "control=shrink", "lam=0.5"])
    assert change.after.scale[0] == pytest.approx(0.25 * change.before.scale[0], rel=1e-4)
    assert change.after.entropy[0] > change.before.entropy[0]


def test_the_table_and_what_is_said(words):
    change, _ = measured([*words, "lam=0.3"])
    assert change.table[0] == ["layer", "entropy_before", "entropy_after", "scale_before", "scale_after", "frames"]
    assert [row[0] for row in change.table[1:]] == list(range(LAYERS))
    flat = AttentionChange(
        AttentionStatistics([0.5, 0.9995], [1, 1]), AttentionStatistics([0.9995, 0.9995], [0, 0]), [0, 1]
    )
    assert UNIFORM < 0.9995
    assert flat.findings((0.95, 0.1)) == [
        "λ is 0.9 or more in layer 0: little of the target's attention is left there",
        "attention in layer 0 has become uniform, which means that all frames get the same weight",
    ]
    assert flat.findings((0.1, 0.1)) == [
        "attention in layer 0 has become uniform, which means that all frames get the same weight"
    ]


def test_layers_below_the_first_merged_one_are_not_run_again(words):
    """Measured from the kept states of layer 2 on, all layers are what a whole pass sees."""
    config = jobs([*words, "layers=top1", "lam=0.6"])[0].config
    bench = Workbench()
    pair = bench.pair(config)
    bench.unmerged_attention(config)
    plan = plan_merge(config, *pair.shapes, config.seed)
    pair.merger.apply(plan)
    whole = measure(pair.target, bench.audio(config))
    change = bench.attention(config, plan.layers)
    assert change.after.entropy == pytest.approx(whole.entropy, abs=1e-6)
    assert (
        change.after.scale == pytest.approx(whole.scale, abs=1e-6) and change.after.scale[2] != change.before.scale[2]
    )


def test_blocks_and_the_frames_of_long_clips(words, monkeypatch):
    whole, _ = measured([*words, "lam=0.3"])
    monkeypatch.setattr(attention_statistics, "BLOCK", 7)
    blocks, _ = measured([*words, "lam=0.3"])
    assert blocks.after.entropy == pytest.approx(whole.after.entropy, abs=1e-6)
    assert blocks.after.scale == pytest.approx(whole.after.scale, rel=1e-5)
    monkeypatch.setattr(attention_statistics, "FRAMES", 10)
    few, _ = measured([*words, "lam=0.3"])
    assert few.before.frames == 10 and {row[-1] for row in few.table[1:]} == {10}
    assert few.before.scale != pytest.approx(whole.before.scale, rel=1e-3)


def test_statistics_by_hand():
    """Two heads of one dimension: with k = (0, ln 3), the logits q·k are 0 and ±ln 3, the weights 1/4 and 3/4."""
    q, k = torch.tensor([[[1.0, -1.0]] * 3]), torch.tensor([[[0.0, 0.0], [math.log(3)] * 2]])
    entropy, scale = attention_statistics._logit_statistics(q, k, 2).tolist()
    assert entropy == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert scale == pytest.approx(math.sqrt(math.log(3) ** 2 / 2))


def test_what_cannot_be_measured_is_a_note(words, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nmore")

    monkeypatch.setattr(attention_statistics, "_logit_statistics", fail)
    outcome = once([*words, "lam=0.3"])
    note = "attention could not be measured: DefaultCPUAllocator: can't allocate memory"
    assert outcome.result.diagnostics.count(note) == 1
    assert "nan" in (outcome.folder / "attention.csv").read_text()
    assert "Traceback" in (outcome.folder / "mam.log").read_text()
