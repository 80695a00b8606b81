"""What a kill leaves on disk: copies of a folder before every operation on it, and processes killed at one of them.

A killed process leaves the files as the operating system has them. Their states are those before each operation that
Python makes, and for a file that is opened for writing, that file empty.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
_watchers: list[Callable[[str, tuple[Any, ...]], None]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watchers or event not in CHANGES | {"open"}:
        return
    watch = _watchers.pop()  # what it does itself is not watched
    try:
        watch(event, arguments)
    finally:
        _watchers.append(watch)


sys.addaudithook(_hook)


def is_change(event: str, arguments: tuple[Any, ...], root: Path) -> bool:
    """Whether an audited operation writes below ``root``; one relative to an open folder counts (`shutil.rmtree`)."""
    path = arguments[0]
    if not isinstance(path, str | os.PathLike):
        return False
    writes = event in CHANGES or (event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR)))
    return writes and (not os.path.isabs(path) or Path(path).is_relative_to(root))


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

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not root.is_dir() or not is_change(event, arguments, root):
            return
        keep()
        path = Path(os.fspath(arguments[0]))
        if event == "open" and path.parent.is_dir() and path.is_absolute() and path != root:
            keep(path)

    _watchers.append(watch)
    try:
        yield made
    finally:
        _watchers.remove(watch)
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
from support.kills import is_change
left = [{nth}]
def kill(event, arguments, root=Path({root!r})):
    if event == "open" or event.startswith("os."):
        if event in {events!r} and is_change(event, arguments, root):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
"""


def killed_at(nth: int, root: Path) -> str:
    """The beginning of a program that is killed before its nth operation below ``root``."""
    tests = str(Path(__file__).parents[1])
    return KILL.format(nth=nth, root=str(root), tests=tests, events=sorted(CHANGES | {"open"}))
