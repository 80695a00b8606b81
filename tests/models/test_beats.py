"""BEATs computes what the original computes, and keeps its files as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.audio import noise
from support.models import BEATS_CFG, HEADS, make_beats
from support.real import VECTORS
from transformers import WavLMConfig
from transformers.audio_utils import mel_filter_bank, spectrogram
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from mam.models.beats import FULL_SCALE, BeatsModel
from mam.models.beats_encoder import Attention, BeatsConfig, relative_buckets
from mam.models.families import load_target
from mam.models.fbank import fbank, frames_of
from mam.models.locate import locate


def vectors(name: str) -> tuple[Path, dict[str, torch.Tensor]]:
    path = VECTORS / "beats" / f"beats_{name}.pt"
    if not path.is_file():
        pytest.skip(f"no reference values in {VECTORS} (set MAM_VECTORS)")
    return path, load_file(path.with_suffix(".io.safetensors"))


def batch(*seconds: float) -> torch.Tensor:
    waves = [torch.from_numpy(noise(length, i)) for i, length in enumerate(seconds)]
    return torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)


@pytest.mark.parametrize("name", ["ssl", "finetuned", "padded"])
def test_parity_with_the_original(name):
    path, expected = vectors(name)
    model = BeatsModel.from_checkpoint(path)
    waveform = expected["waveform"]
    padding = torch.arange(waveform.shape[1])[None] >= expected["lengths"][:, None]
    with torch.inference_mode():
        torch.testing.assert_close(model.fbank(waveform), expected["fbank"], rtol=0, atol=1e-3)
        output = model(waveform, padding if name == "padded" else None)
    torch.testing.assert_close(output, expected["output"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["ssl", "finetuned", "padded"])
def test_the_original_format_round_trips_bit_for_bit(name, tmp_path):
    path, _ = vectors(name)
    BeatsModel.from_checkpoint(path).save_checkpoint(tmp_path / "again.pt")
    before, after = (torch.load(p, weights_only=True) for p in (path, tmp_path / "again.pt"))
    assert after.keys() == before.keys() and after["cfg"] == before["cfg"]
    assert list(after["model"].keys() ^ before["model"].keys()) == []
    for key, tensor in before["model"].items():
        assert after["model"][key].dtype == tensor.dtype and torch.equal(after["model"][key], tensor)


def test_the_target_computes_what_the_model_computes():
    path, expected = vectors("finetuned")
    target = load_target(locate(str(path)), "scores")
    with torch.inference_mode():
        hidden = target.advance(target.front([expected["waveform"][0].numpy()]), 0, target.depth)
        torch.testing.assert_close(target.scores(hidden), expected["output"], rtol=0, atol=1e-4)


def test_filterbank_equals_transformers():
    wave = noise(0.7, 3) * FULL_SCALE
    with pytest.warns(UserWarning, match="mel filter has all zero"):
        mel = mel_filter_bank(257, 128, 20.0, 8000.0, 16000, None, "kaldi", triangularize_in_mel_space=True)
    window = np.hanning(400) ** 0.85
    expected = spectrogram(
        wave, window, 400, 160, 512, 2.0, center=False, preemphasis=0.97, mel_filters=mel, log_mel="log",
        mel_floor=1.192092955078125e-07, remove_dc_offset=True,
    ).T  # fmt: skip
    ours = fbank(torch.from_numpy(wave)[None])[0]
    assert ours.shape == (frames_of(len(wave)), 128) == (68, 128)
    np.testing.assert_allclose(ours, expected, atol=5e-4)


def test_filterbank_of_a_batch_is_that_of_each_clip():
    both = batch(0.7, 1.1)
    alone = fbank(both[:1, :11200])
    torch.testing.assert_close(fbank(both)[:1, : alone.shape[1]], alone, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="at least 400"):
        fbank(both[:, :399])


@pytest.mark.parametrize("length", [1, 7, 300])
def test_buckets_equal_wavlms(length):
    """transformers' WavLM has the same table; its buckets are an independent implementation."""
    theirs = WavLMAttention(WIDTH_OF_WAVLM, 4, num_buckets=320, max_distance=800)
    position = torch.arange(length)
    expected = theirs._relative_positions_bucket(position[None, :] - position[:, None])
    assert torch.equal(relative_buckets(length, 320, 800), expected)


WIDTH_OF_WAVLM = WavLMConfig().hidden_size


@pytest.mark.parametrize("padding", [False, True])
def test_attention_written_out(padding):
    """Scores, gate and softmax by hand, without scaled_dot_product_attention."""
    torch.manual_seed(0)
    attention = Attention(BeatsConfig.of(BEATS_CFG)).eval()
    states, bias = torch.randn(2, 6, 32), torch.randn(HEADS, 6, 6)
    padded = torch.tensor([[False] * 6, [False] * 4 + [True] * 2]) if padding else None
    with torch.inference_mode():
        q, k, v = (
            layer(states).view(2, 6, HEADS, 8).transpose(1, 2)
            for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        a, b = torch.sigmoid(attention.grep_linear(q).view(2, HEADS, 6, 2, 4).sum(-1)).chunk(2, dim=-1)
        logits = q @ k.transpose(-1, -2) / 8**0.5 + (a * (b * attention.grep_a - 1.0) + 2.0) * bias
        if padded is not None:
            logits = logits.masked_fill(padded[:, None, None, :], float("-inf"))
        expected = attention.out_proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(2, 6, 32))
        torch.testing.assert_close(attention(states, padded, bias), expected, rtol=0, atol=1e-5)


OPTIONS = {
    "as_released": {},
    "pre_norm": {"layer_norm_first": True, "deep_norm": False},
    "no_deep_norm": {"deep_norm": False},
    "no_gate": {"gru_rel_pos": False},
    "no_positions": {"relative_position_embedding": False, "gru_rel_pos": False},
    "no_projection": {"embed_dim": 32},
    "conv_bias": {"conv_bias": True},
    "odd_kernel": {"conv_pos": 15},
    "relu": {"activation_fn": "relu"},
}


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_option_loads_runs_and_matters(changes, tmp_path):
    path = make_beats(tmp_path / "beats.pt", **changes)
    model, usual = BeatsModel.from_checkpoint(path), BeatsModel.from_checkpoint(make_beats(tmp_path / "usual.pt"))
    assert ("post_extract_proj.weight" in model.state_dict()) == (changes.get("embed_dim") != 32)
    assert ("patch_embedding.bias" in model.state_dict()) == bool(changes.get("conv_bias"))
    with torch.inference_mode():
        features = model(batch(0.6))
        assert features.shape == (1, 3 * 8, 32) and features.isfinite().all()
        assert not changes or not torch.allclose(features, usual(batch(0.6)), atol=1e-3)
    target = load_target(locate(str(path)), "features")
    waves = [noise(0.6, 0), noise(0.3, 1), noise(0.9, 2)]
    with torch.inference_mode():
        run = lambda clips: target.pooled(target.advance(target.front(clips), 0, target.depth))  # noqa: E731
        together = run(waves)
        for clip, pooled in zip(waves, together, strict=True):
            torch.testing.assert_close(run([clip])[0], pooled, rtol=0, atol=1e-4)


def test_a_full_size_model_loads_and_runs(tmp_path):
    sizes = {"embed_dim": 512, "encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072}
    sizes |= {"encoder_attention_heads": 12, "conv_pos": 128, "conv_pos_groups": 16, "num_buckets": 320}
    path = make_beats(tmp_path / "full.pt", **sizes, max_distance=800)
    model = BeatsModel.from_checkpoint(path)
    layer = 4 * (768 * 768 + 768) + 2 * 2 * 768 + 2 * 768 * 3072 + 3072 + 768 + 64 * 8 + 8 + 12
    front = 512 * 16 * 16 + 2 * 512 + 512 * 768 + 768 + 768 + 128 + 768 * 48 * 128 + 2 * 768
    assert sum(parameter.numel() for parameter in model.parameters()) == 12 * layer + front + 320 * 12
    with torch.inference_mode():
        assert model(batch(1.0)).shape == (1, 48, 768)


def test_gradients_reach_every_parameter():
    model = BeatsModel(BEATS_CFG | {"finetuned_model": True}).train()
    model(batch(0.6)).sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_shorter_than_one_patch():
    model = BeatsModel(BEATS_CFG).eval()
    assert model.config.least_samples == 2800 and model.config.patches(
        torch.tensor([frames_of(2800), frames_of(2799)])
    ).tolist() == [8, 0]
    with pytest.raises(ValueError, match="2799 samples are too few: one patch needs 2800"):
        model(torch.zeros(1, 2799))
