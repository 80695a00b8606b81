"""Bad recordings and bad metadata, in a folder that is otherwise fine."""

from __future__ import annotations

import csv
import io
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scripts.torture.cases import Bad
from scripts.torture.words import IRREGULAR
from scripts.torture.world import SECRET, Place

RUN = ("run", "data=audiofolder", "data.root={in}/data", "data.split=all", "evaluate.draws=100")
SOUNDS = ("run", "model=demo_beats_vit", "data=audiofolder", "data.root={in}/data", "data.split=all", "head=checkpoint")
HEAD = "file_name,transcription"


def wave(samples: int = 8000, rate: int = 16000, channels: int = 1, bits: int = 16, kind: int = 1, **claims: int) -> bytes:
    """Return a WAV file; ``claims`` replace what its header says."""
    data = (np.sin(np.arange(samples * channels) / 9) * 9000).astype("<i2").tobytes()
    size = claims.get("size", len(data))
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", kind, channels % 65536, rate % 2**32, rate * block % 2**32, block % 65536, bits)
    return b"RIFF" + struct.pack("<I", claims.get("riff", (36 + size)) % 2**32) + b"WAVEfmt " + struct.pack("<I", 16) + (
        head + b"data" + struct.pack("<I", size % 2**32) + data
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
    passes = ("an AIFF", "huge samples", "a WAV of 7 bits", "a FLAC that claims no samples", "ten minutes", "a WAV that claims", "a WAV of 1 Hz")
    for what, make in AUDIO.items():

        def prepare(place: Place, make: Callable[[], bytes] = make) -> None:
            data = folder(place)
            (data / "odd.wav").write_bytes(make())
            (data / "metadata.csv").open("a").write("odd.wav,YES\n")

        fine = what.startswith(passes)
        yield Bad(f"recording: {what}", RUN, prepare, names=("odd.wav",), may_pass=fine, seconds=60)
        yield Bad(f"recording left out: {what}", (*RUN, "data.on_bad=skip"), prepare, must_pass=True, seconds=60)
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


def _rows(*rows: str, head: str = HEAD) -> bytes:
    return "\n".join([head, "clip0.wav,HELLO", *rows, ""]).encode("utf-8", "surrogateescape")


def _jsonl(*rows: Any) -> bytes:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return "\n".join([*texts, ""]).encode("utf-8", "surrogatepass")


def _cells(*cells: str) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([HEAD.split(","), ["clip0.wav", "HELLO"], list(cells)])
    return text.getvalue().encode("utf-8", "surrogateescape")


TABLES: dict[str, tuple[bytes, bool]] = {  # name -> content, whether a run may succeed
    "empty": (b"", False),
    "a heading alone": (HEAD.encode(), False),
    "a blank line": (b"\n", False),
    "only commas": (b",,,,\n,,,,\n", False),
    "a BOM": (b"\xef\xbb\xbf" + _rows("clip1.wav,ANNA"), True),
    "UTF-16": (_rows("clip1.wav,ANNA").decode().encode("utf-16"), False),
    "latin-1": (_rows().decode().encode() + b"clip1.wav,caf\xe9\n", False),
    "a short row": (_rows("clip1.wav"), False),
    "a long row": (_rows("clip1.wav,ANNA,MORE"), False),
    "no text": (_rows("clip1.wav,"), False),
    "blank text": (_rows("clip1.wav,   "), False),
    "text without letters": (_rows('clip1.wav,"..."'), True),
    "no name": (_rows(",ANNA"), False),
    "200,000 columns": ((HEAD + "," + ",".join(f"c{i}" for i in range(200_000)) + "\n").encode(), False),
    "200,000 columns of one name": ((HEAD + ",c" * 200_000 + "\n").encode(), False),
    "the same column twice": (b"file_name,file_name,transcription\nclip0.wav,clip1.wav,X\n", False),
    "100,000 words a": (_cells("clip1.wav", "a " * 100_000), True),
    "a word of 100,000 letters": (_cells("clip1.wav", "a" * 100_000), True),
    "a cell of 300,000 letters": (_cells("clip1.wav", "word " * 60_000), True),
    "cells that begin with =": (_cells("clip1.wav", "=1+1"), True),
    "cells that begin with +": (_cells("clip1.wav", "+a"), True),
    "cells that begin with -": (_cells("clip1.wav", "-a"), True),
    "cells that begin with @": (_cells("clip1.wav", "@a"), True),
    "cells that begin with a tab": (_cells("clip1.wav", "\ta"), True),
    "escape codes": (_cells("clip1.wav", "\x1b[31mred\x1b]0;title\x07"), True),
    "escape codes as a name": (_cells("\x1b[31mred.wav", "red"), False),
    "a NUL": (_rows("clip1.wav,A\x00B"), True),
    "a NUL in a name": (_rows("clip1\x00.wav,A"), False),
    "a lone surrogate": (_rows("clip1.wav,A\udcffB"), False),
    "name .": (_rows(".,A"), False),
    "name /": (_rows("/,A"), False),
    "name ..": (_rows("..,A"), False),
    "a name upwards": (_rows("../../../etc/passwd,A"), False),
    "an absolute name": (_rows("/etc/passwd,A"), False),
    "a folder as a name": (_rows("folder,A"), False),
    "a long name": (_rows("x" * 5000 + ",A"), False),
    "a name that is not there": (_rows("nothing.wav,A"), False),
    "a name twice": (_rows("clip0.wav,A"), False),
    "an open quote": (_rows('clip1.wav,"A'), False),
    "a quote within": (_rows('clip1.wav,A"B"C'), True),
    "CR alone": (_rows("clip1.wav,ANNA").replace(b"\n", b"\r"), True),
    "CRLF": (_rows("clip1.wav,ANNA").replace(b"\n", b"\r\n"), True),
    "a line break in a cell": (_cells("clip1.wav", "A\nB"), True),
    "semicolons": (_rows("clip1.wav,ANNA").replace(b",", b";"), False),
    "duplicate ids": (b"file_name,transcription,id\nclip0.wav,A,x\nclip1.wav,B,x\n", False),
    "a split that is not known": (b"file_name,transcription,split\nclip0.wav,A,nothing\nclip1.wav,B,test\n", True),
    "markup": (_cells("clip1.wav", "[bold]x[/red]"), True),
    "HTML": (_cells("clip1.wav", "<script>alert(1)</script>"), True),
    "a secret": (f"{SECRET}: no table at all\n".encode() * 3, False),
    "binary": (bytes(range(256)) * 50, False),
    "a million newlines": (HEAD.encode() + b"\n" * 1_000_000, False),
}
JSONL: dict[str, tuple[bytes, bool]] = {
    "a number 1e999": (b'{"file_name": "clip0.wav", "transcription": 1e999}\n', False),
    "a number of 5000 digits": (b'{"file_name": "clip0.wav", "transcription": ' + b"9" * 5000 + b"}\n", False),
    "NaN": (b'{"file_name": "clip0.wav", "transcription": NaN}\n', False),
    "NaN elsewhere": (b'{"file_name": "clip0.wav", "transcription": "A", "x": NaN}\n', True),
    "null": (_jsonl({"file_name": "clip0.wav", "transcription": None}), False),
    "a list": (_jsonl(["clip0.wav", "A"]), False),
    "a list as a name": (_jsonl({"file_name": ["clip0.wav"], "transcription": "A"}), False),
    "a mapping as text": (_jsonl({"file_name": "clip0.wav", "transcription": {"a": 1}}), False),
    "deep": ('{"file_name": "clip0.wav", "transcription": "A", "x": ' .encode() + b"[" * 100_000 + b"]" * 100_000 + b"}\n", False),
    "a key twice": (b'{"file_name": "clip0.wav", "file_name": "clip1.wav", "transcription": "A"}\n', False),
    "cut": (b'{"file_name": "clip0.wav", "transcr', False),
    "a surrogate": (b'{"file_name": "clip0.wav", "transcription": "\\ud800"}\n', False),
    "no object": (b"1\n2\n", False),
    "escape codes": (_jsonl({"file_name": "clip0.wav", "transcription": "\x1b[31mred"}), True),
    "true": (_jsonl({"file_name": "clip0.wav", "transcription": True}), False),
    "other keys": (_jsonl({"a": 1}), False),
    "an empty key": (_jsonl({"file_name": "clip0.wav", "transcription": "A", "": "x"}), True),
}


def of_metadata() -> Iterator[Bad]:
    """Yield tables that are broken, ragged, hostile or irregular."""
    for suffix, tables in ((".csv", TABLES), (".jsonl", JSONL), (".tsv", TABLES)):
        for number, (what, (content, passes)) in enumerate(tables.items()):
            if suffix == ".tsv" and number % 3:
                continue

            def prepare(place: Place, content: bytes = content, suffix: str = suffix) -> None:
                data = folder(place)
                (data / "folder").mkdir()
                (data / "metadata.csv").unlink()
                made = content.replace(b",", b"\t") if suffix == ".tsv" else content
                (data / f"metadata{suffix}").write_bytes(made)

            fine = passes or suffix == ".tsv"
            yield Bad(f"metadata{suffix}: {what}", RUN, prepare, names=("metadata", "clip", "wav", ".", "/"), may_pass=fine)
    for name in ("metadata.csv", "metadata.jsonl", "metadata.tsv", "other.csv"):
        for what, make in IRREGULAR.items():

            def irregular(place: Place, make: Callable[[Path], object] = make, name: str = name) -> None:
                data = folder(place)
                (data / "metadata.csv").unlink()
                make(data / name)

            words = (*RUN, f"data.metadata={name}") if name == "other.csv" else RUN
            yield Bad(f"{name} is {what}", words, irregular, names=("metadata", "other.csv"))

    for name, text in (("metadata.csv", f"{SECRET}\nroot:x:0:0\n"), ("metadata.jsonl", f'{{"{SECRET}": 1}}\n{SECRET}\n')):

        def secret(place: Place, name: str = name, text: str = text) -> None:
            data = folder(place)
            (data / "metadata.csv").unlink()
            (place.inputs / "secret").write_text(text)
            (data / name).symlink_to(place.inputs / "secret")

        yield Bad(f"{name} is a link to a secret", RUN, secret, names=(name,))
    yield Bad("metadata elsewhere is a secret", (*RUN, "data.metadata=/etc/shadow"), lambda place: folder(place) and None)
    yield Bad("no metadata", RUN, lambda place: (folder(place) / "metadata.csv").unlink())
    for number, (what, (content, _)) in enumerate(TABLES.items()):
        if number % 4 == 0:

            def labels(place: Place, content: bytes = content) -> None:
                (folder(place) / "metadata.csv").write_bytes(content.replace(b"transcription", b"label"))

            yield Bad(f"labels: {what}", SOUNDS, labels, may_pass=True)


def rows() -> list[Bad]:
    """Return the whole table."""
    return [*of_audio(), *of_metadata()]


