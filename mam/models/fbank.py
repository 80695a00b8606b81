"""Kaldi's log-mel filterbank for a batch, as used to train BEATs.

Povey, "The Kaldi Speech Recognition Toolkit", ASRU 2011 (compute-fbank-feats with 128 bins, no dither, no energy):
frames of 25 ms every 10 ms inside the signal, mean removed, pre-emphasis 0.97, Povey's window, power spectrum of 512
points, triangles in mel from 20 Hz to 8 kHz, natural logarithm.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

WINDOW, HOP, FFT, BINS = 400, 160, 512, 128  # samples at 16 kHz; bins of the output
PREEMPHASIS, LOW, HIGH, RATE = 0.97, 20.0, 8000.0, 16_000
FLOOR = torch.finfo(torch.float32).eps


def frames_of(samples: int) -> int:
    """Return the number of frames that fit into this many samples; 0 if none fits."""
    return max(0, 1 + (samples - WINDOW) // HOP)


def fbank(waveform: Tensor) -> Tensor:
    """Compute log-mel energies, ``[b, samples]`` (16 kHz, in the range of 16-bit integers) -> ``[b, t, 128]``.

    Computed in fp32 on the waveform's device, whatever its dtype.

    Raises:
        ValueError: The waveform is not ``[b, samples]`` or has fewer than 400 samples.
    """
    if waveform.ndim != 2 or waveform.shape[1] < WINDOW:
        raise ValueError(f"expected [b, at least {WINDOW} samples], got {tuple(waveform.shape)}")
    window, mel = (tensor.to(waveform.device) for tensor in _window_and_mel())
    frames = waveform.float().unfold(1, WINDOW, HOP)  # [b, t, window]
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * window, n=FFT)  # [b, t, 257]
    energies = spectrum.abs().square() @ mel
    logarithm: Tensor = energies.clamp_min(FLOOR).log()
    return logarithm


@lru_cache(maxsize=1)
def _window_and_mel() -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), warnings.catch_warnings():  # the cached tensors are used in training too
        # 128 triangles over 257 points: the lowest fall between two points and are empty, as in Kaldi.
        warnings.filterwarnings("ignore", "At least one mel filter has all zero values", UserWarning)
        window = torch.hann_window(WINDOW, periodic=False).pow(0.85)
        mel = mel_filter_bank(
            num_frequency_bins=FFT // 2 + 1,
            num_mel_filters=BINS,
            min_frequency=LOW,
            max_frequency=HIGH,
            sampling_rate=RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
        return window, torch.from_numpy(mel).float()  # [257, 128]
