"""`mam inspect`: the numbers by hand, what is dropped, what to beware of."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from support.models import BEATS_CFG, LAYERS, WIDTH
from support.runs import jobs, mam, pair_words
from transformers import HubertForCTC, WhisperForConditionalGeneration

from mam.evaluation.model_pair import checked_parents
from mam.runs.inspection import inspect


def inspected(words: list[str]):
    config = jobs(words)[0].config
    return inspect(config, checked_parents(config))


def test_numbers_by_hand(hubert_group, bert):
    found = inspected([*pair_words(hubert_group, bert), "lam=0.2", "layers.spec=0,2", "parts=qo"])
    plain = HubertForCTC.from_pretrained(hubert_group, dtype=torch.float32)
    theirs = load_file(bert / "model.safetensors")
    assert [(one.layer, one.source_layer, one.part) for one in found.projections] == [
        (0, 0, "q"),
        (0, 0, "o"),
        (2, 2, "q"),
        (2, 2, "o"),
    ]
    assert found.lam == [0.2, 0.0, 0.2]
    for one in found.projections:
        name = {"q": "attention.self.query", "o": "attention.output.dense"}[one.part]
        given = theirs[f"bert.encoder.layer.{one.source_layer}.{name}.weight"].double()
        attention = plain.hubert.encoder.layers[one.layer].attention
        own = {"q": attention.q_proj, "o": attention.out_proj}[one.part].weight.detach().double()
        assert one.cosine == pytest.approx(float((own * given).sum() / own.norm() / given.norm()), abs=1e-5)
        assert one.scale == pytest.approx(float(given.std(correction=0) / own.std(correction=0)), rel=1e-3)
    assert (found.tensors, found.parameters) == (8, 4 * (WIDTH * WIDTH + WIDTH))
    assert found.target.parameters == sum(p.numel() for p in plain.parameters())
    assert (found.target.layers, found.target.heads, found.target.head_width) == (LAYERS, 4, WIDTH // 4)
    assert found.memory["target"] == 4 * found.target.parameters


def test_notes_and_warnings(whisper, minilm, beats, vit):
    found = inspected(["model=whisper_minilm", *pair_words(whisper, minilm, 8)])
    assert any("K bias is dropped" in note for note in found.notes)
    assert any(warning.startswith("heads differ: the target has 4 heads of 8") for warning in found.warnings)
    assert found.target.biases == "qvo" and found.source.biases == "qkvo"
    model = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32)
    tied = sum(p.numel() for p in model.parameters())
    assert found.target.parameters == pytest.approx(tied, rel=0.2)
    gate = inspected(["model=demo_beats_vit", *pair_words(beats, vit)]).warnings
    assert (
        any(
            "merging Q also changes BEATs' gated position bias, which is computed from Q; parts=kv avoids this"
            in warning
            for warning in gate
        )
        and BEATS_CFG["gru_rel_pos"]
    )
    assert inspected(["model=demo_beats_vit", *pair_words(beats, vit), "parts=kv"]).warnings == []


def test_scales_that_are_far_off_are_warned_of(hubert_group, tmp_path):
    from safetensors.torch import save_file
    from support.models import make_bert

    folder = make_bert(tmp_path / "loud")
    tensors = load_file(folder / "model.safetensors")
    name = "encoder.layer.1.attention.self.query.weight"
    save_file(tensors | {name: 5 * tensors[name]}, folder / "model.safetensors", metadata={"format": "pt"})
    (warning,) = inspected(pair_words(hubert_group, folder)).warnings
    assert (
        warning.startswith("scale: in layer 1, the standard deviation of the source's Q is 5")
        and "(1 layer outside 0.5 to 2 ×)" in warning
    )


def test_tables_fit_eighty_columns_and_json_is_for_programs():
    shown = mam("inspect", "model=demo_hubert_bert", "parts=qkvo", "lam=0.125")
    assert shown.returncode == 0 and shown.stderr == ""
    tables = [line for line in shown.stdout.splitlines() if not line.startswith(("what", "warning"))]
    assert max(map(len, tables)) <= 80
    found = json.loads(mam("inspect", "--json", "lam=0.125").stdout)
    assert len(found["projections"]) == 12 and found["projections"][0]["lam"] == 0.125
    assert found["projections"][0]["scale"] == pytest.approx(0.84, abs=0.01)


def test_words_that_have_no_meaning_are_refused():
    answer = mam("inspect", "data=ljspeech", "lam=2")
    assert answer.returncode == 2
    assert "data=ljspeech: does not apply to mam inspect, which reads no data. Leave it out" in answer.stderr
