"""Ways to damage a file, by name; each takes its path."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

Damage = Callable[[Path], object]


def text(content: str | bytes) -> Damage:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def instead(make: Callable[[Path], object]) -> Damage:
    """Something else in the file's place."""

    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


class Malice:
    """Code that is run where a pickle is taken for what it says."""

    def __reduce__(self):
        return (Path.touch, (Path("run"),))


def saved(value: object) -> Damage:
    """What torch saves of a value; of `Malice`, a pickle that runs code."""
    return lambda path: torch.save(value, path)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _moved(path: Path) -> None:
    """The same content behind a link."""
    aside = path.parent.parent / f"aside-{path.name}"
    shutil.move(path, aside)
    path.symlink_to(aside.absolute())


CONTENT: dict[str, Damage] = {
    "emptied": text(""),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by three bytes": lambda path: os.truncate(path, path.stat().st_size - 3),
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(500)),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one bit flipped": _flip,
    "not UTF-8": text(b'{"a": "\xff"}'),
    "a list": text("[]"),
    "a number": text("7"),
    "a string": text('"a"'),
    "null": text("null"),
    "deeply nested": text("[" * 100_000 + "]" * 100_000),
    "deeply nested objects": lambda path: path.write_text('{"a": ' * 500 + "1" + "}" * 500),
    "NaN": lambda path: path.write_text(json.dumps({"a": float("nan")})),
}
KIND: dict[str, Damage] = {
    "missing": Path.unlink,
    "a folder": instead(Path.mkdir),
    "a folder with a file": instead(lambda path: (path.mkdir(), (path / "a").touch())),
    "a pipe": instead(os.mkfifo),
    "a link to nothing": instead(lambda path: path.symlink_to("nowhere")),
    "a link to itself": instead(lambda path: path.symlink_to(path.name)),
    "a link to a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to a folder": instead(lambda path: path.symlink_to("/tmp")),
}
MOVED: dict[str, Damage] = {"a link to the same": _moved}
