"""Recordings as float32 arrays: read by soundfile, mixed to mono, resampled by soxr. Nothing unusable gets through."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from mam.errors import DataError

Wave = NDArray[np.float32]
RATE = 16_000  # Hz; what every speech target of mam hears
MIN_SECONDS = 0.05  # HuBERT's first frame needs 25 ms; nobody says a word in 50
_SHORT_DATA = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = {0, 0x7FFFFFFF, 0xFFFFFFFF}  # sizes written by encoders that do not know the length beforehand


def read(source: Path | bytes, rate: int, name: str) -> Wave:
    """Decode one recording. Any sample rate, any number of channels; WAV, FLAC, OGG and what else libsndfile reads.

    Args:
        source: a path or the encoded bytes.
        rate: the sample rate wanted, in Hz.
        name: how messages call the recording.

    Returns:
        Mono samples in [-1, 1] (nominally), float32, ``[samples]``.

    Raises:
        DataError: missing, not audio, truncated, empty, shorter than 50 ms, silent throughout, or with NaN.
    """
    if isinstance(source, Path):
        if not source.is_file():
            raise DataError(f"{name}: there is no such file")
        size = source.stat().st_size
    else:
        size = len(source)
    if size == 0:
        raise DataError(f"{name}: the file is empty (0 bytes)")
    try:
        with soundfile.SoundFile(str(source) if isinstance(source, Path) else io.BytesIO(source)) as file:
            _refuse_truncated(file.extra_info, name)
            declared, native = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True)  # [frames, channels]
    except soundfile.LibsndfileError as error:
        damaged = "damaged or truncated" if "lost sync" in str(error) else "not readable as audio"
        raise DataError(f"{name}: {damaged} ({error.error_string.strip().rstrip('.')})") from error
    if len(samples) < declared:
        raise DataError(f"{name}: truncated, {len(samples)} of {declared} frames are there")
    mono = samples.mean(axis=1, dtype=np.float32)
    if len(mono) < MIN_SECONDS * native:
        raise DataError(f"{name}: only {len(mono) / native:.3f} s long, less than {MIN_SECONDS} s")
    if not np.isfinite(mono).all():
        raise DataError(f"{name}: has samples that are NaN or infinite")
    if not mono.any():
        raise DataError(f"{name}: silent, all samples are zero")
    return mono if native == rate else np.ascontiguousarray(soxr.resample(mono, native, rate), dtype=np.float32)


def _refuse_truncated(log: str, name: str) -> None:
    """libsndfile reads what is left of a cut file and only notes it in its log."""
    match = _SHORT_DATA.search(log)
    if match and int(match[1]) > int(match[2]) and int(match[1]) not in _STREAMED:
        raise DataError(f"{name}: truncated, {match[2]} of {match[1]} bytes of samples are there")
    if "without an End-Of-Stream flag" in log:
        raise DataError(f"{name}: truncated, the Ogg stream has no end")
