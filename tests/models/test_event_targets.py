"""Encoders of sounds: pooled features and own classes are what plain transformers computes, merged or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.audio import noise
from support.merging import linear_plan, merge_by_hand
from support.models import HEADS, LAYERS, LETTERS, SOURCE_LAYERS, WIDTH, make_beats, make_hubert, widen
from transformers import (
    ASTForAudioClassification,
    AutoFeatureExtractor,
    HubertForSequenceClassification,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    WhisperModel,
)

from mam.errors import CheckpointError
from mam.merging.merger import Merger
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source

LAMBDAS = [0.0, 0.3, 1.0]


def read(folder: Path, source: Path, lam: float, readout: str, waves: list[np.ndarray]) -> torch.Tensor:
    target = load_target(locate(str(folder)), readout)
    Merger(target.blocks, Source(locate(str(source))).read).apply(linear_plan(lam))
    with torch.inference_mode():
        hidden = target.advance(target.front(waves), 0, target.depth)
        return target.pooled(hidden) if readout == "features" else target.scores(hidden)


@pytest.fixture(scope="module")
def hubert_classes(tmp_path_factory) -> Path:
    folder = make_hubert(tmp_path_factory.mktemp("hubert"), "layer")
    torch.manual_seed(0)
    config = HubertModel.from_pretrained(folder).config
    config.num_labels, config.classifier_proj_size = 4, 16
    model = HubertForSequenceClassification(config).eval()
    widen(model, 2)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper_classes(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("whisper")
    config = WhisperConfig(
        num_mel_bins=16,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=1,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        vocab_size=len(LETTERS),
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
        classifier_proj_size=16,
        num_labels=4,
    )
    model = WhisperForAudioClassification(config).eval()
    widen(model, 3)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("lam", LAMBDAS)
def test_ast_equals_plain_transformers(ast, bert, lam):
    waves = [noise(0.7, 1), noise(1.2, 2)]
    plain = ASTForAudioClassification.from_pretrained(ast, dtype=torch.float32).eval()
    backbone = plain.audio_spectrogram_transformer
    merge_by_hand([layer.attention for layer in backbone.layers], bert, lam)
    inputs = AutoFeatureExtractor.from_pretrained(ast)(waves, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        pooled, logits = backbone(**inputs).pooler_output, plain(**inputs).logits
    torch.testing.assert_close(read(ast, bert, lam, "features", waves), pooled, rtol=0, atol=2e-5)
    torch.testing.assert_close(read(ast, bert, lam, "scores", waves), logits.sigmoid(), rtol=0, atol=2e-5)
    assert load_target(locate(str(ast)), "scores").labels == ["Dog", "Rain", "Sine wave"]


@pytest.mark.parametrize("lam", LAMBDAS)
def test_hubert_equals_plain_transformers(hubert_classes, bert, lam):
    wave = noise(1.1, 7)
    plain = HubertForSequenceClassification.from_pretrained(hubert_classes, dtype=torch.float32).eval()
    merge_by_hand([layer.attention for layer in plain.hubert.encoder.layers], bert, lam)
    inputs = AutoFeatureExtractor.from_pretrained(hubert_classes)(wave, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        states, logits = plain.hubert(inputs.input_values).last_hidden_state, plain(inputs.input_values).logits
    torch.testing.assert_close(read(hubert_classes, bert, lam, "features", [wave]), states.mean(1), rtol=0, atol=2e-5)
    scores = read(hubert_classes, bert, lam, "scores", [wave])
    torch.testing.assert_close(scores, logits.softmax(-1), rtol=0, atol=2e-5)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_whisper_pools_real_frames_only(whisper_classes, bert, lam):
    wave = noise(1.25, 4)  # 62.5 frames of 20 ms: the last one is half real
    plain = WhisperForAudioClassification.from_pretrained(whisper_classes, dtype=torch.float32).eval()
    merge_by_hand([layer.self_attn for layer in plain.encoder.layers], bert, lam)
    inputs = AutoFeatureExtractor.from_pretrained(whisper_classes)(wave, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        states = plain.encoder(inputs.input_features).last_hidden_state[:, :63]
        scores = plain.classifier(plain.projector(states).mean(1)).softmax(-1)
    torch.testing.assert_close(read(whisper_classes, bert, lam, "scores", [wave]), scores, rtol=0, atol=2e-5)
    assert states.shape[1] < 1500


def test_whisper_of_the_recogniser_is_the_same_encoder(whisper, bert):
    waves = [noise(0.5, 1), noise(2.0, 2)]
    plain = WhisperModel.from_pretrained(whisper, dtype=torch.float32).eval()
    merge_by_hand([layer.self_attn for layer in plain.encoder.layers], bert, 0.3)
    inputs = AutoFeatureExtractor.from_pretrained(whisper)(waves, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        states = plain.encoder(inputs.input_features).last_hidden_state
    expected = torch.stack([row[:n].mean(0) for row, n in zip(states, (25, 100), strict=True)])
    torch.testing.assert_close(read(whisper, bert, 0.3, "features", waves), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("folder", ["hubert_group", "hubert_layer", "whisper", "beats", "ast"])
def test_alone_equals_batched(folder, bert, request):
    folder = request.getfixturevalue(folder)
    waves = [noise(seconds, i) for i, seconds in enumerate([0.4, 1.2, 0.9, 1.2])]
    for together, wave in zip(read(folder, bert, 0.3, "features", waves), waves, strict=True):
        torch.testing.assert_close(read(folder, bert, 0.3, "features", [wave])[0], together, rtol=0, atol=1e-4)


def test_beats_merged_by_hand(beats, vit, tmp_path):
    """Q, K and V written into the original file by hand, against the merge in place."""
    wave, lam = noise(0.8, 5), 0.3
    saved = torch.load(beats, weights_only=True)
    source = Source(locate(str(vit)))
    assert source.layers == SOURCE_LAYERS
    for layer in range(LAYERS):
        for part in "qkv":
            name = f"encoder.layers.{layer}.self_attn.{part}_proj"
            for kind, theirs in zip(("weight", "bias"), source.read(layer, part), strict=True):
                saved["model"][f"{name}.{kind}"].mul_(1 - lam).add_(lam * theirs)
    torch.save(saved, tmp_path / "merged.pt")
    expected = read(tmp_path / "merged.pt", vit, 0.0, "features", [wave])
    torch.testing.assert_close(read(beats, vit, lam, "features", [wave]), expected, rtol=0, atol=1e-5)
    assert (read(beats, vit, 0.0, "features", [wave]) - expected).abs().max() > 0.01


def test_beats_says_what_merging_q_moves(beats, tmp_path):
    def caveats(path: Path, parts: str) -> tuple[str, ...]:
        return load_target(locate(str(path)), "features").caveats(locate(str(path)), tuple(parts))

    assert caveats(beats, "qkv") == (
        "merging Q also changes BEATs' gated position bias, which is computed from Q; parts=kv avoids this",
    )
    assert caveats(beats, "kv") == ()
    assert caveats(make_beats(tmp_path / "plain.pt", gru_rel_pos=False), "qkv") == ()


def test_what_has_no_classes_says_so(beats, ast, tmp_path):
    with pytest.raises(CheckpointError, match="only pre-trained and has no classes. Set head=probe_fixed"):
        load_target(locate(str(beats)), "scores")
    nameless = load_target(locate(str(make_beats(tmp_path / "nameless.pt", finetuned_model=True))), "scores")
    with pytest.raises(CheckpointError, match="its label_dict does not name all of its classes"):
        _ = nameless.labels
    for folder in (ast, beats):
        with pytest.raises(CheckpointError, match="is not a known speech recogniser"):
            load_target(locate(str(folder)), "text")


def test_a_head_that_is_not_in_the_file_is_refused(hubert_group):
    with pytest.raises(CheckpointError, match="lacks 4 weights that HubertForSequenceClassification needs"):
        load_target(locate(str(hubert_group)), "scores")


def test_a_weighted_sum_of_layers_is_refused(hubert_classes, tmp_path):
    model = HubertForSequenceClassification.from_pretrained(hubert_classes, use_weighted_layer_sum=True)
    model.save_pretrained(tmp_path)
    AutoFeatureExtractor.from_pretrained(hubert_classes).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="its head uses a weighted sum of all layers"):
        load_target(locate(str(tmp_path)), "scores")


def test_limits(beats, ast, whisper, hubert_group):
    def limits(path: Path, readout: str = "features"):
        checkpoint = locate(str(path))
        return type(load_target(checkpoint, readout)).limits(checkpoint, readout)

    assert limits(beats) == (2800, None)
    assert limits(ast) == (400, 400 + 127 * 160)
    assert limits(whisper) == (0, 480_000) and limits(whisper, "text") == (0, None)
    assert limits(hubert_group) == (0, None)
