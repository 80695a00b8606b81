"""Bad metadata of recordings that are fine."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.torture.cases import Bad
from scripts.torture.recordings import HEAD, RUN, SOUNDS, folder
from scripts.torture.words import IRREGULAR
from scripts.torture.world import SECRET, Place


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
    "prose": (b"This is no table at all.\n" * 3, False),
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
    "deep": (
        b'{"file_name": "clip0.wav", "transcription": "A", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        False,
    ),
    "a key twice": (b'{"file_name": "clip0.wav", "file_name": "clip1.wav", "transcription": "A"}\n', False),
    "cut": (b'{"file_name": "clip0.wav", "transcr', False),
    "a surrogate": (b'{"file_name": "clip0.wav", "transcription": "\\ud800"}\n', False),
    "no object": (b"1\n2\n", False),
    "escape codes": (_jsonl({"file_name": "clip0.wav", "transcription": "\x1b[31mred"}), True),
    "true": (_jsonl({"file_name": "clip0.wav", "transcription": True}), False),
    "other keys": (_jsonl({"a": 1}), False),
    "an empty key": (_jsonl({"file_name": "clip0.wav", "transcription": "A", "": "x"}), True),
}


def _fine(place: Place) -> None:
    folder(place)


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
            yield Bad(
                f"metadata{suffix}: {what}", RUN, prepare, names=("metadata", "clip", "wav", ".", "/"), may_pass=fine
            )
    for name in ("metadata.csv", "metadata.jsonl", "metadata.tsv", "other.csv"):
        for what, make in IRREGULAR.items():

            def irregular(place: Place, make: Callable[[Path], object] = make, name: str = name) -> None:
                data = folder(place)
                (data / "metadata.csv").unlink()
                make(data / name)

            words = (*RUN, f"data.metadata={name}") if name == "other.csv" else RUN
            yield Bad(f"{name} is {what}", words, irregular, names=("metadata", "other.csv"))

    for name, text in (
        ("metadata.csv", f"{SECRET}\nroot:x:0:0\n"),
        ("metadata.jsonl", f'{{"{SECRET}": 1}}\n{SECRET}\n'),
    ):

        def secret(place: Place, name: str = name, text: str = text) -> None:
            data = folder(place)
            (data / "metadata.csv").unlink()
            (place.inputs / "secret").write_text(text)
            (data / name).symlink_to(place.inputs / "secret")

        yield Bad(f"{name} is a link to a secret", RUN, secret, names=(name,))
    yield Bad("metadata elsewhere is a secret", (*RUN, "data.metadata=/etc/shadow"), _fine)
    yield Bad("no metadata", RUN, lambda place: (folder(place) / "metadata.csv").unlink())
    for number, (what, (content, _)) in enumerate(TABLES.items()):
        if number % 4 == 0:

            def labels(place: Place, content: bytes = content) -> None:
                (folder(place) / "metadata.csv").write_bytes(content.replace(b"transcription", b"label"))

            yield Bad(f"labels: {what}", SOUNDS, labels, may_pass=True)


def _named(*names: str) -> Callable[[Place], None]:
    def prepare(place: Place) -> None:
        clips = place.world.clips()
        for name in ("good", *names):
            for number in range(2):
                path = place.inputs / "data" / name / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes((clips / f"clip{number}.wav").read_bytes())

    return prepare


def of_names() -> Iterator[Bad]:
    """Yield folders whose names are the labels, or that name splits, with odd names."""
    for what, names in {
        "escape codes": ("\x1b[31mred",),
        "a newline": ("a\nb",),
        "bytes that are no UTF-8": ("\udcff",),
        "rich markup": ("[bold]",),
        "a right-to-left mark": ("\u202eabc",),
        "a leading dot": (".hidden",),
        "a leading dash": ("-x",),
        "only a blank": (" ",),
        "a deep folder": ("/".join(["a"] * 300),),
        "a thousand labels": tuple(f"label{number}" for number in range(1000)),
        "names that differ in case": ("Dog", "dog"),
        "names that differ in composition": ("caf\u00e9", "cafe\u0301"),
    }.items():
        yield Bad(f"labels by folder: {what}", SOUNDS, _named(*names), may_pass=True)
        yield Bad(f"no metadata but folders: {what}", RUN, _named(*names))


def rows() -> list[Bad]:
    """Return the whole table."""
    return [*of_metadata(), *of_names()]
