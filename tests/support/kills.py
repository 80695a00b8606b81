"""What a kill leaves on disk: copies of a folder before every operation on it, and processes killed at one of them.

A killed process leaves the files as the operating system has them. Their states are those before each operation that
Python makes, and for a file that is opened for writing, that file empty.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

CHANGES = ("rename", "replace", "remove", "unlink", "rmdir", "mkdir", "truncate", "link", "symlink")
Watch = Callable[[Path, bool], None]


@contextmanager
def watched(root: Path, watch: Watch) -> Iterator[None]:
    """Call ``watch(path, opened)`` before each call of Python's that writes below ``root``, an absolute path.

    A path relative to an open folder counts (`shutil.rmtree`). What ``watch`` does itself is not watched. The functions
    are replaced, not audited: under Python 3.11 a thread that starts while an audit hook runs cannot be traced
    (coverage), and dies.
    """
    busy: list[bool] = []

    def watching(function: Callable[..., Any], writes: Callable[..., bool], opens: bool) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            path = args[0] if args else next(iter(kwargs.values()))
            if not busy and isinstance(path, str | os.PathLike) and writes(*args, **kwargs):
                path = Path(path)
                if not path.is_absolute() or path.is_relative_to(root):
                    busy.append(True)
                    try:
                        watch(path, opens)
                    finally:
                        busy.pop()
            return function(*args, **kwargs)

        return call

    opening = watching(builtins.open, lambda file, mode="r", *_, **__: not set(mode).isdisjoint("wax+"), True)
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, watching(getattr(os, name), lambda *_, **__: True, False))
        write = os.O_WRONLY | os.O_RDWR
        patch.setattr(os, "open", watching(os.open, lambda path, flags, *_, **__: bool(flags & write), True))
        patch.setattr(builtins, "open", opening)
        patch.setattr(io, "open", opening)
        yield


@contextmanager
def copies_of(root: Path, into: Path) -> Iterator[list[Path]]:
    """Yield a list that is filled with copies of ``root``, an absolute path, at every state a kill could leave."""
    made: list[Path] = []
    seen = set()

    def keep(emptied: Path | None = None) -> None:
        copy = into / f"state{len(made)}" / root.name
        shutil.copytree(root, copy, symlinks=True)
        if emptied is not None:
            (copy / emptied.relative_to(root)).write_bytes(b"")
        state = digest(copy)
        if state in seen:
            shutil.rmtree(copy.parent)
        else:
            seen.add(state)
            made.append(copy)

    def watch(path: Path, opened: bool) -> None:
        if root.is_dir():
            keep()
            if opened and path.parent.is_dir() and path.is_absolute() and path != root:
                keep(path)

    with watched(root, watch):
        yield made
    if root.is_dir():
        keep()


def digest(folder: Path, hidden: bool = True) -> str:
    """The hash of names and contents below a folder, with or without names that begin with a dot."""
    parts = []
    for path in sorted(folder.rglob("*")):
        if hidden or not path.name.startswith("."):
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            parts.append((str(path.relative_to(folder)), path.is_dir(), hashlib.sha256(content).hexdigest()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


# A process that is killed before its nth operation below a folder: put before a program that is run with -c.
KILL = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from support.kills import watched
left = [{nth}]
def kill(path, opened):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
killing = watched(Path({root!r}), kill)
killing.__enter__()
"""


def killed_at(nth: int, root: Path) -> str:
    """The beginning of a program that is killed before its nth operation below ``root``."""
    return KILL.format(nth=nth, root=str(root), tests=str(Path(__file__).parents[1]))
