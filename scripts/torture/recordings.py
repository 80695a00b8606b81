"""Bad recordings in a folder that is otherwise fine."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from scripts.torture.cases import Bad
from scripts.torture.words import IRREGULAR
from scripts.torture.world import Place

RUN = ("run", "data=audiofolder", "data.root={in}/data", "data.split=all", "evaluate.draws=100")
SOUNDS = ("run", "model=demo_beats_vit", "data=audiofolder", "data.root={in}/data", "data.split=all", "head=checkpoint")
HEAD = "file_name,transcription"


def wave(
    samples: int = 8000, rate: int = 16000, channels: int = 1, bits: int = 16, kind: int = 1, **claims: int
) -> bytes:
    """Return a WAV file; ``claims`` replace what its header says."""
    data = (np.sin(np.arange(samples * channels) / 9) * 9000).astype("<i2").tobytes()
    size = claims.get("size", len(data))
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", kind, channels % 65536, rate % 2**32, rate * block % 2**32, block % 65536, bits)
    return (
        b"RIFF"
        + struct.pack("<I", claims.get("riff", (36 + size)) % 2**32)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + (head + b"data" + struct.pack("<I", size % 2**32) + data)
    )


def floats(*odd: float) -> bytes:
    """Return a WAV file of float32 with these samples among others."""
    import soundfile

    samples = np.sin(np.arange(8000) / 9).astype("float32") * 0.3
    samples[100 : 100 + len(odd)] = odd
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def encoded(kind: str, subtype: str | None = None, rate: int = 16000, samples: int = 16000) -> bytes:
    """Return a second of a tone in a format of libsndfile."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(samples) / 9).astype("float32") * 0.3, rate, format=kind, subtype=subtype)
    return file.getvalue()


def claimed_flac(total: int, rate: int | None = None) -> bytes:
    """Return a FLAC file whose header claims a number of samples (36 bits) and a rate (20 bits)."""
    content = bytearray(encoded("FLAC"))
    packed = int.from_bytes(content[18:26], "big")
    packed = packed & ~(2**36 - 1) | total % 2**36
    if rate is not None:
        packed = packed & (2**44 - 1) | rate << 44
    content[18:26] = packed.to_bytes(8, "big")
    return bytes(content)


def _cut(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


AUDIO: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"R",
    "text": lambda: b"this is no recording\n" * 50,
    "zeros": lambda: bytes(10_000),
    "a WAV cut in half": lambda: _cut(wave(), 0.5),
    "a WAV cut in its header": lambda: wave()[:30],
    "a WAV without samples": lambda: wave(0),
    "a WAV of one sample": lambda: wave(1),
    "a WAV of 0 Hz": lambda: wave(rate=0),
    "a WAV of 1 Hz": lambda: wave(rate=1, samples=5),
    "a WAV of 1e9 Hz": lambda: wave(rate=10**9),
    "a WAV of 2**31-1 Hz": lambda: wave(rate=2**31 - 1),
    "a WAV of 0 channels": lambda: wave(channels=0),
    "a WAV of 1000 channels": lambda: wave(80, channels=1000),
    "a WAV of 65535 channels": lambda: wave(8, channels=65535),
    "a WAV of 7 bits": lambda: wave(bits=7),
    "a WAV of an unknown kind": lambda: wave(kind=0x1234),
    "a WAV that claims 2**32-1 bytes": lambda: wave(size=2**32 - 1),
    "a WAV that claims 2 GB at 1 Hz": lambda: wave(size=2**31, rate=1),
    "NaN samples": lambda: floats(float("nan")),
    "infinite samples": lambda: floats(float("inf"), float("-inf")),
    "huge samples": lambda: floats(3e38, -3e38),
    "a FLAC cut in half": lambda: _cut(encoded("FLAC"), 0.5),
    "a FLAC that claims 2**36-1 samples": lambda: claimed_flac(2**36 - 1),
    "a FLAC that claims no samples": lambda: claimed_flac(0),
    "a FLAC of 1 Hz that claims 2**36-1": lambda: claimed_flac(2**36 - 1, 1),
    "a FLAC of 1 Hz": lambda: claimed_flac(16000, 1),
    "an MP3 cut in half": lambda: _cut(encoded("MP3"), 0.5),
    "an MP3 of noise": lambda: b"\xff\xfb\x90\x00" + bytes(range(256)) * 40,
    "an OGG cut in half": lambda: _cut(encoded("OGG", "VORBIS"), 0.5),
    "a gzip of nothing": lambda: b"\x1f\x8b\x08" + bytes(100),
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(200),
    "an AIFF": lambda: encoded("AIFF"),
    "a WAV of 4 Hz": lambda: wave(rate=4, samples=8000),
    "ten minutes of a WAV of 8 kHz": lambda: wave(600 * 8000, rate=8000),
}


def folder(place: Place, name: str = "data") -> Path:
    """Make a folder with two good recordings and their metadata."""
    path = place.inputs / name
    path.mkdir()
    clips = place.world.clips()
    for clip in ("clip0.wav", "clip1.wav"):
        shutil.copy2(clips / clip, path / clip)
    (path / "metadata.csv").write_text(f"{HEAD}\nclip0.wav,HELLO THERE\nclip1.wav,ANNA\n", encoding="utf-8")
    return path


def of_audio() -> Iterator[Bad]:
    """Yield recordings that are damaged or claim the impossible, alone and with on_bad=skip."""
    passes = (
        "an AIFF",
        "huge samples",
        "a WAV of 7 bits",
        "a FLAC that claims no samples",
        "ten minutes",
        "a WAV that claims",
        "a WAV of 1 Hz",
    )
    for what, make in AUDIO.items():

        def prepare(place: Place, make: Callable[[], bytes] = make) -> None:
            data = folder(place)
            (data / "odd.wav").write_bytes(make())
            (data / "metadata.csv").open("a").write("odd.wav,YES\n")

        fine = what.startswith(passes)
        seconds = 200 if what.startswith("ten minutes") else 60
        yield Bad(f"recording: {what}", RUN, prepare, names=("odd.wav",), may_pass=fine, seconds=seconds)
        yield Bad(f"recording left out: {what}", (*RUN, "data.on_bad=skip"), prepare, must_pass=True, seconds=seconds)
    for what, make_it in IRREGULAR.items():

        def irregular(place: Place, make: Callable[[Path], object] = make_it) -> None:
            data = folder(place)
            make(data / "odd.wav")
            (data / "metadata.csv").open("a").write("odd.wav,YES\n")

        yield Bad(f"recording is {what}", RUN, irregular, names=("odd.wav",))
        yield Bad(f"recording left out is {what}", (*RUN, "data.on_bad=skip"), irregular, may_pass=True)

        def whole(place: Place, make: Callable[[Path], object] = make_it) -> None:
            make(place.inputs / "data")

        yield Bad(f"folder of data is {what}", RUN, whole, names=("data",))


def rows() -> list[Bad]:
    """Return the whole table."""
    return list(of_audio())
