"""Recordings as float32 arrays: read by soundfile, mixed to mono, resampled by soxr; unusable ones raise an error."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
MAX_SECONDS = 6 * 3600
LOWEST, HIGHEST = 1_000, 768_000  # Hz; beyond these a header is wrong
NOT_MPEG = (b"RIFF", b"fLaC", b"OggS", b"caff")  # first bytes of the other formats
DAMAGED = ("lost sync", "psf_fseek")  # in libsndfile's errors; the latter where a header claims too much
UNKNOWN = 2**62  # frames, from which on libsndfile means that a header does not say
BLOCK = 2**20  # samples of all channels that are decoded at a time
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
        DataError: The recording is missing, not audio, truncated, empty, shorter than 50 ms, longer than 6 hours,
            silent throughout, or contains NaN or infinite samples.
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
        opened = str(source) if isinstance(source, Path) else io.BytesIO(source)
        with _quiet_mpg123(source), soundfile.SoundFile(opened) as file:
            if file.format not in AUDIO_FORMATS:
                raise DataError(
                    f"{name}: mam cannot check whether {file.format} files are complete. Use {choices(AUDIO_FORMATS)}"
                )
            _refuse_truncated(file.extra_info, name)
            if file.format == "OGG":
                _refuse_cut_ogg(source, name)
            wave = _decoded(file, rate, name)
    except (OSError, TypeError, ValueError) as error:  # no permission; .raw files, which have no header
        raise DataError(f"{name}: not readable as audio ({error})") from error
    except soundfile.LibsndfileError as error:
        damaged = "damaged or truncated" if any(sign in str(error) for sign in DAMAGED) else "not readable as audio"
        raise DataError(f"{name}: {damaged} ({error.error_string.strip().rstrip('.')})") from error
    return wave


def _decoded(file: soundfile.SoundFile, rate: int, name: str) -> Wave:
    """Decode, mix and resample an open file block by block, so that memory is bounded by the result.

    The number of frames in a header is not trusted before as many were read.
    """
    declared, native = file.frames, file.samplerate
    if declared >= UNKNOWN:
        raise DataError(f"{name}: its header does not give its length. Convert it again, e.g. with ffmpeg")
    if not LOWEST <= native <= HIGHEST:
        raise DataError(f"{name}: has a sampling rate of {native} Hz. mam supports {LOWEST} to {HIGHEST} Hz")
    stream = None if native == rate else soxr.ResampleStream(native, rate, 1, dtype="float32")
    parts, frames, is_silent = [], 0, True
    size = max(1, BLOCK // file.channels)
    while frames < declared:
        block = file.read(size, dtype="float32", always_2d=True)  # [frames, channels]
        frames += len(block)
        mono = block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise DataError(f"{name}: has samples that are NaN or infinite")
        if frames > MAX_SECONDS * native:
            raise DataError(f"{name}: is longer than {MAX_SECONDS // 3600} hours. Cut it into pieces")
        is_silent = is_silent and not mono.any()
        parts.append(mono if stream is None else stream.resample_chunk(mono))
        if len(block) < size:  # to ask for more would be an error where the header claims more
            break
    if frames < declared:
        raise DataError(f"{name}: is truncated: it has {frames} of {declared} frames")
    if frames < MIN_SECONDS * native:
        raise DataError(f"{name}: is only {frames / native:.3f} s long, less than {MIN_SECONDS} s")
    if is_silent:
        raise DataError(f"{name}: is silent (all samples are zero)")
    if stream is not None:
        parts.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(parts)


class _Quiet:
    """The number of threads that decode now, and where standard error led before."""

    lock, threads, stderr = threading.Lock(), 0, -1


@contextmanager
def _quiet_mpg123(source: Path | bytes) -> Iterator[None]:
    """Keep libmpg123, which libsndfile tries on what no other decoder knows, from writing to standard error."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(4)
    else:
        head = source[:4]
    if head in NOT_MPEG:
        yield
        return
    with _Quiet.lock:
        if _Quiet.threads == 0:
            _Quiet.stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        _Quiet.threads += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.threads -= 1
            if _Quiet.threads == 0:
                os.dup2(_Quiet.stderr, 2)
                os.close(_Quiet.stderr)


def _refuse_truncated(log: str, name: str) -> None:
    """Raise DataError if libsndfile's log notes missing samples.

    libsndfile reads what is left of a truncated file and reports it only in its log.
    """
    match = _SHORT_DATA.search(log)
    if match and int(match[1]) > int(match[2]) and int(match[1]) not in _STREAMED:
        raise DataError(f"{name}: is truncated: it has {match[2]} of {match[1]} bytes of samples")


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
    raise DataError(f"{name}: is truncated: the Ogg stream has no end")
