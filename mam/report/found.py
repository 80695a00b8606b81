"""Finished runs found below folders. Unfinished and unreadable folders are counted and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mam.errors import MamError, RecordError
from mam.files import resolved
from mam.records.reading import RESULT

UNNAMED = 10  # number of unusable folders to name; the rest is counted

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """The contents of all finished runs, the oldest first, and the folders that could not be used.

    Attributes:
        runs: what was read, one a run.
        unfinished: folders of unfinished runs.
        broken: unreadable results, with the reason.
    """

    runs: list[T]
    unfinished: list[Path]
    broken: list[tuple[Path, str]]


def find_runs(folders: Sequence[Path], read: Callable[[Path], T]) -> Found[T]:
    """Read every finished run below the folders, at any depth, by the time at which its result was written.

    Args:
        folders: folders to search; a run that is below several of them counts once.
        read: reads the folder of one run; a MamError makes it unreadable.

    Raises:
        RecordError: a folder that does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            raise RecordError(f"{folder}: there is no such folder.")
    runs: list[T] = []
    broken = []
    for path in sorted(_distinct(folders, RESULT), key=lambda path: (_written(path), path)):
        try:
            runs.append(read(path.parent))
        except MamError as error:
            broken.append((path, str(error) if str(path.parent) in str(error) else f"{path.parent}: {error}"))
    started = {path.parent for path in _distinct(folders, ".hydra") if path.is_dir()}
    return Found(runs, sorted(path for path in started if not (path / RESULT).exists()), broken)


def left_out(unfinished: Sequence[Path], broken: Sequence[tuple[Path, str]]) -> list[str]:
    """Return sentences that count unfinished and unreadable runs, and name the first of them."""
    sentences = []
    if unfinished:
        sentences.append(f"{len(unfinished)} unfinished: {_named([str(path) for path in unfinished])}")
    if broken:
        sentences.append(f"{len(broken)} unreadable: {_named([reason for _, reason in broken])}")
    return sentences


def _distinct(folders: Sequence[Path], name: str) -> list[Path]:
    """Return every path of this name below the folders once, though they overlap."""
    paths = [path for folder in folders for path in folder.rglob(name)]
    return list({resolved(path.parent): path for path in reversed(paths)}.values())


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # a dangling link; reading it raises an error later
        return 0.0


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - UNNAMED} more" if len(names) > UNNAMED else ""
    return "; ".join(names[:UNNAMED]) + more
