"""Atomic writes, content hashes, locks and the paths of bundled assets."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from mam.errors import DataError, MamError

ASSETS = Path(__file__).parent / "assets"
ASSET_SCHEME = "asset:"
DISK = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS}  # what a disk answers to a write


def local_path(name: str) -> Path:
    """Return the path that a configuration names: ``asset:NAME`` is bundled with mam, ``~`` is the home folder."""
    if name.startswith(ASSET_SCHEME):
        return ASSETS / name.removeprefix(ASSET_SCHEME)
    return expanded(name)


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
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{place}: {name!r} points outside {root}. Give paths inside the data folder.")
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that replaces it on success; an error leaves nothing behind.

    Raises:
        MamError: The file cannot be written (disk full, read-only). Errors of the block that are not of writing, such
            as those of a network, are raised as they are.
    """
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with _written(path, temporary):
            yield temporary
        with _written(path):
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp creates private files, but the group should read results
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically.

    Raises:
        ValueError: ``value`` contains NaN or infinity.
    """
    with atomic(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


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


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object per line.

    Raises:
        MamError: A line is not a JSON object, or contains NaN or infinity. The message names the line.
    """
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(dict(json.loads(line, parse_constant=_refuse)))
            except (ValueError, TypeError, RecursionError) as error:
                raise MamError(f"{path}, line {number}: not a JSON object ({error}).") from error
    return rows


def read_text(path: Path, limit: int = 2**26) -> str:
    """Return the text of a small UTF-8 file; ``limit`` is its largest size in bytes.

    Raises:
        MamError: There is no such file, it may not be read, is no regular file, is too large, or is not UTF-8.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would block
    except (OSError, ValueError) as error:
        raise MamError(f"{path}: {getattr(error, 'strerror', None) or error}.") from error
    with os.fdopen(handle, "rb") if stat.S_ISREG(os.fstat(handle).st_mode) else _closed(handle, path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise MamError(f"{path}: has more than the {limit} bytes that such a file may have.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MamError(f"{path}: not UTF-8 text (byte {error.start}).") from error


def _closed(handle: int, path: Path) -> IO[bytes]:
    os.close(handle)
    raise MamError(f"{path}: is no regular file.")


def read_json(path: Path, limit: int = 2**26) -> Any:
    """Return the content of a small JSON file.

    Raises:
        MamError: As `read_text`, or the file is no JSON, contains NaN or infinity, or is nested over 100 levels deep.
    """
    try:
        text = read_text(path, limit)
        value = json.loads(text, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # a UnicodeEncodeError is a ValueError
        level, depth = [value], 0
        while level:
            if (depth := depth + 1) > 101:
                raise ValueError("more than 100 levels deep")
            below = [
                part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)
            ]
            level = [value for values in below for value in values]
    except (ValueError, RecursionError) as error:
        raise MamError(f"{path}: cannot be read as JSON ({error}).") from error
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


_digests: dict[tuple[str, int, int], str] = {}


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's content.

    A process reads the file only once while its size and modification time stay the same.
    """
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _digests:
        with path.open("rb") as file:
            _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[key]


def sha256_json(value: object) -> str:
    """Return the hex SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def sha256_of(parts: Mapping[str, str]) -> str:
    """Combine several named hashes into one; a single hash is returned unchanged."""
    return next(iter(parts.values())) if len(parts) == 1 else sha256_json(dict(parts))


@contextmanager
def locked(path: Path, seconds: float = 43_200, other: str = "cache_dir=FOLDER or MAM_CACHE") -> Iterator[None]:
    """Hold an exclusive lock file beside ``path``, so that jobs on one file system take turns.

    Args:
        path: The file that the jobs share.
        seconds: The longest time to wait.
        other: What the user sets for another folder, for the message.

    Raises:
        MamError: Another process held the lock for ``seconds``, or the folder cannot be written.
    """
    lock = FileLock(f"{path}.lock", timeout=seconds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise MamError(f"Waited {seconds:.0f} s for {path}.lock. If no other mam run is alive, delete it.") from error
    except OSError as error:
        raise MamError(
            f"Cannot use the cache folder {path.parent} ({error.strerror or error}). Set {other}."
        ) from error
    try:
        yield
    finally:
        lock.release()


def free_memory() -> int:
    """Return the number of bytes that a process can still allocate without swapping."""
    from psutil import virtual_memory

    return int(virtual_memory().available)


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
