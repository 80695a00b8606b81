"""The files that the cells of a data set name: opened only inside the data set's own repository.

A path in a cell is a chain as `fsspec` reads it, from the inside out: ``zip://wavs/a.wav::hf://datasets/o/n@COMMIT/w.zip``.
Anyone can write any path into a cell.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from datasets.utils.file_utils import COMPRESSION_EXTENSION_TO_PROTOCOL, xopen

ARCHIVES = re.compile(rf"({'|'.join(sorted({'tar', *COMPRESSION_EXTENSION_TO_PROTOCOL.values()}))})://")


def recording_at(name: str, repository: str, commit: str) -> dict[str, Any] | None:
    """Return the bytes and the path of the file that a cell names; None if it is not in the repository.

    Args:
        name: The path in the cell.
        repository: The id on the hub, or the resolved folder of a copy.
        commit: The commit that is read of a repository on the hub.

    Raises:
        OSError: The file is in the repository, but cannot be read.
    """
    *inner, outer = name.split("::")
    if not all(ARCHIVES.match(hop) for hop in inner):
        return None
    folder = Path(repository)
    if folder.is_absolute():
        file = _in_folder(folder, outer)
        below = None if file is None else str(file.relative_to(folder))
        opened = str(file)
    else:
        below = _in_repository(outer, f"hf://datasets/{repository}@{commit}/")
        opened = outer
    if below is None:
        return None
    with xopen("::".join([*inner, opened]), "rb") as stream:
        content = stream.read()
    return {"bytes": content, "path": (inner[0].partition("://")[2] if inner else "") or below}


def _in_repository(url: str, start: str) -> str | None:
    below = url.removeprefix(start)
    return None if below == url or not below or ".." in re.split(r"[/\\]", below) else below


def _in_folder(folder: Path, name: str) -> Path | None:
    """Return a file of a copy; links may lead to its own ``blobs``, as they do in the hub's cache."""
    file = Path(os.path.normpath(folder / name))
    allowed = [folder, folder.parent.parent / "blobs"] if folder.parent.name == "snapshots" else [folder]
    try:
        is_here = file.is_relative_to(folder) and any(file.resolve().is_relative_to(place) for place in allowed)
        return file if is_here and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, contains NUL, or a link to itself
        return None
