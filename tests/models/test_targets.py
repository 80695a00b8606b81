"""Every target computes what plain transformers computes: merged or not, alone or in a batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.audio import noise
from support.merging import linear_plan, logits, merge_by_hand
from support.models import HEADS, LAYERS, LETTERS, WIDTH, make_hubert
from transformers import AutoProcessor, HubertForCTC, HubertModel, WhisperForConditionalGeneration

from mam.errors import CheckpointError
from mam.merging.merger import Merger
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source

LAMBDAS = [0.0, 0.3, 1.0]


def merged_target(target: Path, source: Path, lam: float):
    loaded = load_target(locate(str(target)))
    Merger(loaded.blocks, Source(locate(str(source))).read).apply(linear_plan(lam))
    return loaded


@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("folder", ["hubert_group", "hubert_layer"])
@pytest.mark.parametrize("source", ["bert", "minilm"])
def test_hubert_equals_plain_transformers(folder, source, lam, request):
    folder, source = request.getfixturevalue(folder), request.getfixturevalue(source)
    wave = noise(1.1, 7)
    plain = HubertForCTC.from_pretrained(folder, dtype=torch.float32).eval()
    merge_by_hand([layer.attention for layer in plain.hubert.encoder.layers], source, lam)
    inputs = AutoProcessor.from_pretrained(folder)(wave, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        expected = plain(inputs.input_values).logits[0]
    torch.testing.assert_close(logits(merged_target(folder, source, lam), [wave])[0], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("folder", ["hubert_group", "hubert_layer"])
def test_merging_moves_the_logits(folder, bert, request):
    """The comparison above would be empty if λ did not show."""
    folder = request.getfixturevalue(folder)
    wave = noise(1.1, 7)
    untouched, mixed = (logits(merged_target(folder, bert, lam), [wave])[0] for lam in (0.0, 0.3))
    assert (untouched - mixed).abs().max() > 0.01


@pytest.mark.parametrize("folder", ["hubert_group", "hubert_layer"])
def test_alone_equals_batched(folder, request):
    target = load_target(locate(str(request.getfixturevalue(folder))))
    waves = [noise(seconds, i) for i, seconds in enumerate([0.4, 1.7, 0.9, 1.7])]
    for batched, wave in zip(logits(target, waves), waves, strict=True):
        torch.testing.assert_close(batched, logits(target, [wave])[0], rtol=0, atol=1e-4)


def test_layer_norm_front_end_equals_transformers_with_a_mask(hubert_layer):
    """For this variant transformers' own batch is right, and ours must be the same."""
    waves = [noise(0.5, 1), noise(1.2, 2)]
    plain = HubertForCTC.from_pretrained(hubert_layer, dtype=torch.float32).eval()
    inputs = AutoProcessor.from_pretrained(hubert_layer)(waves, sampling_rate=16000, return_tensors="pt", padding=True)
    with torch.inference_mode():
        expected = plain(inputs.input_values, attention_mask=inputs.attention_mask).logits
    for ours, theirs in zip(logits(load_target(locate(str(hubert_layer))), waves), expected, strict=True):
        torch.testing.assert_close(ours, theirs[: len(ours)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_whisper_equals_plain_transformers(whisper, bert, lam):
    waves = [noise(1.0, 3), noise(2.5, 4)]
    plain = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32).eval()
    merge_by_hand([layer.self_attn for layer in plain.model.encoder.layers], bert, lam)
    processor = AutoProcessor.from_pretrained(whisper)
    features = processor(waves, sampling_rate=16000, return_tensors="pt").input_features
    target = merged_target(whisper, bert, lam)
    with torch.inference_mode():
        encoded = plain.model.encoder(features).last_hidden_state
        ids = plain.generate(features, force_unique_generate_call=True)
        texts = processor.batch_decode(ids, skip_special_tokens=True)
        hidden = target.advance(target.front(waves), 0, target.depth)
        ours = target.model.model.encoder.layer_norm(hidden.states)
        torch.testing.assert_close(ours, encoded, rtol=0, atol=2e-5)
        assert target.transcribe(hidden) == [text.strip() for text in texts]


def test_whisper_merges_the_encoder_only(whisper, bert):
    before = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32).state_dict()
    after = merged_target(whisper, bert, 0.3).model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    names = {
        f"model.encoder.layers.{i}.self_attn.{p}_proj.{w}"
        for i in range(LAYERS)
        for p in "qkv"
        for w in ("weight", "bias")
    }
    assert changed == names - {f"model.encoder.layers.{i}.self_attn.k_proj.bias" for i in range(LAYERS)}


def test_whisper_hears_more_than_thirty_seconds(long_whisper):
    target = load_target(locate(str(long_whisper)))
    wave = np.concatenate([noise(20, 1), noise(20, 2)])
    assert target.alone(len(wave)) and not target.alone(30 * 16000)
    plain = WhisperForConditionalGeneration.from_pretrained(long_whisper, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(long_whisper)
    inputs = processor(
        wave, sampling_rate=16000, return_tensors="pt", truncation=False, padding="longest", return_attention_mask=True
    )
    with torch.inference_mode():
        expected = processor.batch_decode(
            plain.generate(**inputs, return_timestamps=True, do_sample=False), skip_special_tokens=True
        )
        assert target.transcribe(target.advance(target.front([wave]), 0, target.depth)) == [expected[0].strip()]


def test_ctc_keeps_double_letters(hubert_group):
    """A blank between two equal ids keeps both; without a blank they are one. `|` is a blank, specials are nothing."""
    target = load_target(locate(str(hubert_group)))
    ids = {token: i for i, token in enumerate(LETTERS)}
    spelled = ["H", "H", "E", "L", "<pad>", "L", "L", "O", "O", "|", "|", "<s>", "<pad>", "A", "'", "|", "<pad>"]
    assert target.vocabulary.text([ids[token] for token in spelled]) == "HELLO A'"
    assert target.vocabulary.text([ids["<pad>"]] * 5) == ""


def test_checkpoint_in_half_precision_is_computed_in_full(tmp_path):
    folder = make_hubert(tmp_path / "half")
    HubertForCTC.from_pretrained(folder, dtype=torch.float32).half().save_pretrained(folder)
    target = load_target(locate(str(folder)))
    assert {parameter.dtype for parameter in target.model.parameters()} == {torch.float32}


def test_shape_is_what_the_config_says(hubert_group, whisper):
    for folder in (hubert_group, whisper):
        target = load_target(locate(str(folder)))
        assert (target.depth, target.width, target.heads) == (LAYERS, WIDTH, HEADS)


def test_missing_head_is_refused(tmp_path, hubert_group):
    folder = make_hubert(tmp_path / "headless")
    HubertModel.from_pretrained(hubert_group).save_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"lacks 2 weights that HubertForCTC needs: lm_head.bias, lm_head.weight"):
        load_target(locate(str(folder)))


def test_unknown_architecture_names_the_known_ones(tmp_path):
    folder = make_hubert(tmp_path / "odd")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "sew"}))
    with pytest.raises(CheckpointError, match="'sew' is not a known speech recogniser. Known: data2vec-audio, hubert,"):
        load_target(locate(str(folder)))


def test_tensor_of_a_wrong_shape_is_named(tmp_path):
    folder = make_hubert(tmp_path / "misshapen")
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:5].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lm_head.weight"):
        load_target(locate(str(folder)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: edit(f / "vocab.json", lambda v: dict(list(v.items())[:20])), "of its 32 outputs have no token"),
        (
            lambda f: edit(f / "config.json", lambda c: c | {"pad_token_id": 3}),
            "the blank is 3 in config.json .* but 0 in",
        ),
        (
            lambda f: edit(f / "config.json", lambda c: c | {"transformers_weights": "x"}),
            "transformers_weights is not supported",
        ),
        (lambda f: edit(f / "config.json", lambda c: [c]), "contains a list, not a JSON object"),
        (lambda f: edit(f / "vocab.json", lambda v: list(v)), "vocab.json: contains a list, not a JSON object"),
        (lambda f: poison(f, "lm_head.bias"), "NaN or infinite values in lm_head.bias"),
        (lambda f: edit(f / "processor_config.json", whispers_ears), "feature extractor"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, change, message):
    folder = make_hubert(tmp_path / "odd")
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        load_target(locate(str(folder)))


def edit(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def whispers_ears(processor):
    return processor | {"feature_extractor": {"feature_extractor_type": "WhisperFeatureExtractor"}}


def poison(folder, name):
    tensors = load_file(folder / "model.safetensors")
    tensors[name][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_folder_without_tokenizer_is_refused(tmp_path):
    folder = make_hubert(tmp_path / "mute")
    for name in ("processor_config.json", "tokenizer_config.json", "vocab.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match="tokenizer or feature extractor cannot be loaded"):
        load_target(locate(str(folder)))


def test_the_layout_that_the_hub_has_for_hubert_large(tmp_path, hubert_layer):
    """Pickled weights, a preprocessor_config.json, and a tokenizer_config.json that names no class."""
    for name in ("config.json", "vocab.json"):
        (tmp_path / name).write_bytes((hubert_layer / name).read_bytes())
    torch.save(load_file(hubert_layer / "model.safetensors"), tmp_path / "pytorch_model.bin")
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(marks))
    plain = marks | {"do_lower_case": False, "return_attention_mask": True, "do_normalize": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(plain))
    extractor = {"do_normalize": True, "feature_size": 1, "padding_value": 0, "sampling_rate": 16000}
    extractor |= {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "return_attention_mask": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(extractor))
    waves = [noise(0.6, 1), noise(1.0, 2)]
    published, saved = (load_target(locate(str(folder))) for folder in (tmp_path, hubert_layer))
    with torch.inference_mode():
        texts = [t.transcribe(t.advance(t.front(waves), 0, t.depth)) for t in (published, saved)]
    assert texts[0] == texts[1] and all(texts[0])
