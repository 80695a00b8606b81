"""The feature extractor is compared with the model, for every family, before any weights are loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from support.audio import noise
from support.models import HEADS, LAYERS, LETTERS, WIDTH
from support.runs import mam, pair_words
from transformers import (
    ASTFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from mam.errors import CheckpointError
from mam.models.families import load_target
from mam.models.locate import locate

READOUTS = {"hubert_group": "text", "whisper": "text", "w2v_bert": "text", "ast": "scores"}


@pytest.fixture(scope="session")
def w2v_bert(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("w2v_bert")
    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(
        vocab_size=len(LETTERS),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        pad_token_id=0,
    )
    Wav2Vec2BertForCTC(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(folder / "vocab.json").save_pretrained(folder)
    SeamlessM4TFeatureExtractor().save_pretrained(folder)
    return folder


def with_extractor(folder: Path, extractor, to: Path) -> Path:
    shutil.copytree(folder, to)
    (to / "processor_config.json").unlink(missing_ok=True)
    extractor.save_pretrained(to)
    return to


@pytest.mark.parametrize(
    ("family", "extractor", "message"),
    [
        (
            "whisper",
            WhisperFeatureExtractor(feature_size=80),
            "gives 80 mel bins, but the model needs 16 .num_mel_bins",
        ),
        ("whisper", WhisperFeatureExtractor(16, chunk_length=10), "gives 1000 frames, but the model needs 400"),
        ("whisper", WhisperFeatureExtractor(16, hop_length=320), "gives 1500 frames, but the model needs 400"),
        ("whisper", WhisperFeatureExtractor(16, dither=0.1), "adds random noise .dither=0.1., so results would"),
        ("whisper", SeamlessM4TFeatureExtractor(), "is a SeamlessM4TFeatureExtractor, but Whisper needs a Whisper"),
        ("ast", ASTFeatureExtractor(num_mel_bins=64, max_length=128), "gives 64 mel bins, but the model needs 32"),
        ("ast", ASTFeatureExtractor(num_mel_bins=32), "gives 1024 frames, but the model needs 128 .max_length"),
        ("ast", Wav2Vec2FeatureExtractor(), "is a Wav2Vec2FeatureExtractor, but AST needs a ASTFeatureExtractor"),
        (
            "w2v_bert",
            SeamlessM4TFeatureExtractor(num_mel_bins=40),
            "gives 80 features per frame, but the model needs 160",
        ),
        ("w2v_bert", SeamlessM4TFeatureExtractor(stride=1), "gives 80 features per frame, but the model needs 160"),
        (
            "hubert_group",
            ASTFeatureExtractor(num_mel_bins=32),
            "is a ASTFeatureExtractor, but Hubert needs a Wav2Vec2FeatureExtractor",
        ),
        (
            "hubert_group",
            Wav2Vec2FeatureExtractor(sampling_rate=8000),
            "expects 8000 Hz, but mam supports only 16000 Hz",
        ),
        ("hubert_group", Wav2Vec2FeatureExtractor(feature_size=2), "gives 2 channels, but the model needs 1"),
    ],
)
def test_an_extractor_that_does_not_fit_is_refused(family, extractor, message, tmp_path, request, monkeypatch):
    folder = with_extractor(request.getfixturevalue(family), extractor, tmp_path / "odd")
    monkeypatch.setattr("mam.models.hub._load", lambda *_: pytest.fail("loads the weights first"))
    with pytest.raises(CheckpointError, match=message):
        load_target(locate(str(folder)), READOUTS[family])


def test_inspect_compares_them_too(whisper, bert, tmp_path):
    folder = with_extractor(whisper, WhisperFeatureExtractor(feature_size=80), tmp_path / "odd")
    words = ["model=whisper_minilm", *pair_words(folder, bert)]
    answer = mam("inspect", *words)
    assert answer.returncode == 1 and "gives 80 mel bins, but the model needs 16" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_masks_that_an_extractor_leaves_out_change_nothing(w2v_bert, hubert_layer, tmp_path):
    """`return_attention_mask` is about batches made by transformers; mam knows how long its clips are."""
    for folder, without in (
        (w2v_bert, SeamlessM4TFeatureExtractor(return_attention_mask=False)),
        (hubert_layer, Wav2Vec2FeatureExtractor(return_attention_mask=False, do_normalize=True)),
    ):
        texts = []
        for one in (folder, with_extractor(folder, without, tmp_path / folder.name)):
            target = load_target(locate(str(one)))
            with torch.inference_mode():
                hidden = target.advance(target.front([noise(0.5, 1), noise(0.9, 2)]), 0, LAYERS)
                texts.append(target.logits(hidden))
        for ours, theirs in zip(*texts, strict=True):
            assert torch.equal(ours, theirs)


def test_an_encoder_without_an_extractor_can_be_inspected(hubert_group, bert, tmp_path):
    shutil.copytree(hubert_group, tmp_path / "bare")
    for name in ("processor_config.json", "vocab.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).unlink()
    assert mam("inspect", *pair_words(tmp_path / "bare", bert)).returncode == 0
