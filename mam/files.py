"""Atomic writes, content hashes and the paths of bundled assets."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

from mam.errors import DataError, MamError
from mam.locks import abandoned, in_use
from mam.small_files import is_inside

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # first characters of what a spreadsheet computes
DEMO = "mam_demo"  # the package of the distribution mam-bench-demo
ASSET_SCHEME = "asset:"
DISK = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS}  # what a disk answers to a write


def local_path(name: str) -> Path:
    """Return the path that a configuration names: ``asset:NAME`` is in the demo package, ``~`` is the home folder.

    Raises:
        MamError: ``name`` is an asset, and the demo package is not installed.
    """
    if name.startswith(ASSET_SCHEME):
        return assets(name) / name.removeprefix(ASSET_SCHEME)
    return expanded(name)


def assets(wanted: str = "the demo") -> Path:
    """Return the folder of the demo's models and recordings, which the package `mam_demo` holds.

    Raises:
        MamError: The package is not installed; the message begins with ``wanted``.
    """
    spec = find_spec(DEMO)
    if spec is None or spec.origin is None:
        raise MamError(
            f"{wanted}: the demo's models and recordings are not installed. Install them: pip install 'mam-bench[demo]'"
            " (in a clone of mam: pip install -e . -e demo)"
        )
    return Path(spec.origin).parent


def inside(root: Path, name: str, place: str) -> Path:
    """Return ``root/name`` if it lies inside ``root``.

    Args:
        root: The folder that must contain the path.
        name: A path relative to ``root``.
        place: Where the name was read, for the message.

    Raises:
        DataError: The path leaves ``root``.
    """
    path = root / name
    if not is_inside(path, root):
        raise DataError(f"{place}: {name!r} points outside {root}. Give paths inside the data folder.")
    return path


@contextmanager
def atomic_path(path: Path, is_tidied: bool = True) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that replaces it on success; an error leaves nothing behind.

    With ``is_tidied``, what a killed process left of writing the same file is removed, for which the folder is listed.

    Raises:
        MamError: The file cannot be written (disk full, read-only). Errors of the block that are not of writing, such
            as those of a network, are raised as they are.
    """
    made = list(takewhile(lambda folder: not folder.exists(), path.parents))
    temporary: Path | None = None
    try:
        with _written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            os.close(handle)
            temporary = Path(name)
        with _written(path, temporary), in_use(temporary):
            yield temporary
        with _written(path):
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp creates private files, but the group should read results
            temporary.replace(path)
        if is_tidied:
            tidy(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        with suppress(OSError):  # the file is in the first, or another process's
            for folder in made:
                folder.rmdir()


def tidy(path: Path) -> None:
    """Remove what killed processes left of writing ``path``, where that is allowed."""
    for left in abandoned(path.parent.glob(f".{escape(path.name)}.????????")):
        with suppress(OSError):
            left.unlink()


@contextmanager
def _written(path: Path, only: Path | None = None) -> Iterator[None]:
    """Raise errors of writing ``path`` as a MamError; with ``only`` no others than those of that file or the disk."""
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in DISK and error.filename not in (only, str(only)):
            raise
        raise MamError(
            f"Cannot write {path}: {error.strerror or error}. Free space or choose another folder."
        ) from error


@contextmanager
def atomic(path: Path) -> Iterator[IO[str]]:
    """Open ``path`` for writing UTF-8 text that appears whole or not at all; see `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


def json_text(value: object) -> str:
    """Return ``value`` as indented JSON.

    Raises:
        ValueError: ``value`` contains NaN or infinity.
    """
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically; raises ValueError as `json_text` does."""
    text = json_text(value)
    with atomic(path) as file:
        file.write(text)


def write_csv(file: IO[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of a table; text that a spreadsheet would take for a formula gets an apostrophe before it.

    See https://owasp.org/www-community/attacks/CSV_Injection. Numbers are left as they are.
    """
    csv.writer(file, lineterminator="\n").writerows([_harmless(cell) for cell in row] for row in rows)


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text.removesuffix("%"))
    except ValueError:
        return False
    return True


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    with atomic(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def remove(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a folder with everything in it; nothing if it is not there.

    Raises:
        MamError: It cannot be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise MamError(f"{path}: cannot be removed ({error.strerror or error}). Remove it by hand.") from error


def own_folder(path: Path) -> Path:
    """Make a folder unless it exists, and return it.

    Raises:
        MamError: Something else has its name, or its parent cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise MamError(f"{path}: cannot be made a folder ({reason}). Remove what has its name.") from error
    return path


_digests: dict[bytes, bytes] = {}  # of a name, size and time; as bytes, since there may be one for every recording


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's content.

    A process reads the file only once while its size and modification time stay the same.
    """
    status = path.stat()
    name = f"{status.st_size} {status.st_mtime_ns} {resolved(path)}"
    key = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    if key not in _digests:
        with path.open("rb") as file:
            _digests[key] = hashlib.file_digest(file, "sha256").digest()
    return _digests[key].hex()


def sha256_json(value: object) -> str:
    """Return the hex SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def sha256_of(parts: Mapping[str, str]) -> str:
    """Combine several named hashes into one; a single hash is returned unchanged."""
    return next(iter(parts.values())) if len(parts) == 1 else sha256_json(dict(parts))


def resolved(path: Path) -> Path:
    """Return an absolute path without links; one that leads in a circle stays as far as it leads."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for it


def is_folder(path: Path) -> bool:
    """Return whether there is such a folder; False for what cannot be a path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long, contains NUL, or may not be looked at
        return False


def is_file(path: Path) -> bool:
    """Return whether there is such a file; False for what cannot be a path."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def expanded(name: str) -> Path:
    """Expand ``~`` to the home folder.

    The path of an unknown user stays as it is; opening it later reports a missing file.
    """
    return Path(os.path.expanduser(name))  # noqa: PTH111  # Path.expanduser raises for unknown users
