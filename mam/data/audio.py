"""Recordings as float32 arrays: read by soundfile, mixed to mono, resampled by soxr; unusable ones raise an error."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from mam.errors import DataError, choices

Wave = NDArray[np.float32]
AUDIO_FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3", "CAF")  # libsndfile's names; truncation is detected in these
OGG_PAGE = 65_307  # maximum size of a page, in bytes
RATE = 16_000  # Hz; the input rate of every speech target in mam
MIN_SECONDS = 0.05  # HuBERT's first frame needs 25 ms; no spoken word is shorter than 50 ms
_SHORT_DATA = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = {0, 0x7FFFFFFF, 0xFFFFFFFF}  # sizes written by encoders that do not know the length in advance


def read(source: Path | bytes, rate: int, name: str) -> Wave:
    """Decode one recording of any sample rate and number of channels.

    WAV, FLAC, OGG and the other entries of ``AUDIO_FORMATS`` are accepted.

    Args:
        source: A path or the encoded bytes.
        rate: The sample rate of the result, in Hz.
        name: The recording's name in messages.

    Returns:
        Mono samples, nominally in [-1, 1], float32, ``[samples]``.

    Raises:
        DataError: The recording is missing, not audio, truncated, empty, shorter than 50 ms, silent throughout, or
            contains NaN or infinite samples.
    """
    if isinstance(source, Path):
        try:
            if not source.is_file():
                raise DataError(f"{name}: there is no such file")
            size = source.stat().st_size
        except OSError as error:
            raise DataError(f"{name}: {error.strerror}") from error
    else:
        size = len(source)
    if size == 0:
        raise DataError(f"{name}: the file is empty (0 bytes)")
    try:
        with soundfile.SoundFile(str(source) if isinstance(source, Path) else io.BytesIO(source)) as file:
            if file.format not in AUDIO_FORMATS:
                raise DataError(
                    f"{name}: mam cannot tell whether a {file.format} file is whole. Use {choices(AUDIO_FORMATS)}"
                )
            _refuse_truncated(file.extra_info, name)
            if file.format == "OGG":
                _refuse_cut_ogg(source, name)
            declared, native = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True)  # [frames, channels]
    except (OSError, TypeError, ValueError) as error:  # no permission; .raw files, which have no header
        raise DataError(f"{name}: not readable as audio ({error})") from error
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
    """Raise DataError if libsndfile's log notes missing samples.

    libsndfile reads what is left of a truncated file and reports it only in its log.
    """
    match = _SHORT_DATA.search(log)
    if match and int(match[1]) > int(match[2]) and int(match[1]) not in _STREAMED:
        raise DataError(f"{name}: truncated, {match[2]} of {match[1]} bytes of samples are there")


def _refuse_cut_ogg(source: Path | bytes, name: str) -> None:
    """Raise DataError unless the last Ogg page is complete and ends the stream (RFC 3533, section 6)."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            file.seek(max(0, source.stat().st_size - 2 * OGG_PAGE))
            tail = file.read()
    else:
        tail = source[-2 * OGG_PAGE :]
    start = tail.rfind(b"OggS")
    header = tail[start : start + 27] if start >= 0 else b""
    if len(header) == 27:
        lacing = tail[start + 27 : start + 27 + header[26]]
        whole = len(lacing) == header[26] and len(tail) >= start + 27 + header[26] + sum(lacing)
        if whole and header[5] & 4:
            return
    raise DataError(f"{name}: truncated, the Ogg stream has no end")
