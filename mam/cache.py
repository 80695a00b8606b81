"""The cache folder, which runs share across processes.

An entry is either complete or absent, and it is checked when it is read. The folder stays below a size limit: the least
recently used entries are removed first. A cache is never needed: if it cannot be used, that is said once, and runs
compute what it lacks.

<cache>/CACHEDIR.TAG                          marks a folder that mam made, see https://bford.info/cachedir/
<cache>/<kind>/<key>.json or .safetensors     the key is a hash of everything that the content depends on

Only files with such names are ever removed, with their locks and what interrupted writes left. A folder without the tag
that holds anything else is no cache.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mam.errors import ConfigError, MamError, choices, first_line
from mam.files import atomic, atomic_path, expanded, sha256_json
from mam.locks import abandoned, lock_of
from mam.small_files import LARGE, read_bytes

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {
    "baselines": "predictions of unmerged targets",
    "audio": "decoded recordings",
    "states": "hidden states before the first merged layer",
}
TAG, SIGNATURE = "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"
ENTRY = re.compile(r"[0-9a-f]{64}\.(json|safetensors)")
LEFT = re.compile(rf"{ENTRY.pattern}\.lock|\.{ENTRY.pattern}\.\w+")  # locks, and files of interrupted writes
HEADER = 512  # approximate size of a tensor file without its tensors, in bytes
LOW_TIDE = 0.9  # fraction of the limit to which a full folder is emptied, so that not every entry triggers a cleanup

log = logging.getLogger("mam")


def cache_folder(configured: str | None) -> Path:
    """Return the cache folder: ``cache_dir=``, else ``$MAM_CACHE``, else ``~/.cache/mam``.

    ``$XDG_CACHE_HOME`` replaces ``~/.cache`` if it is set.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mam"
    return expanded(str(configured or os.environ.get("MAM_CACHE") or default))


@dataclass(frozen=True)
class CacheUse:
    """The entries of one kind in a cache folder.

    ``used`` is the time at which any of them was last read or written, and None if there are none.
    """

    kind: str
    entries: int
    nbytes: int
    used: float | None


class Cache:
    """One cache folder.

    If the folder cannot be used, ``say`` is called once with the reason, and runs continue without the cache.
    """

    def __init__(self, folder: Path, limit_bytes: int, say: Callable[[str], None] = log.warning) -> None:
        """Open the cache in ``folder``, which may be missing or empty.

        Raises:
            ConfigError: The folder is not a cache of mam, since it holds other files or is itself a file.
        """
        _refuse_others_folder(folder)
        self.folder, self._limit, self._say = folder, limit_bytes, say
        self._is_writable = limit_bytes > 0
        self._size = -1  # not measured yet
        self._writes = 0

    def path(self, kind: str, key: object, suffix: str = ".safetensors") -> Path:
        """Return the path of the entry for ``key``, which is any JSON value; see `turn`."""
        return self.folder / kind / f"{sha256_json(key)}{suffix}"

    @contextmanager
    def turn(self, path: Path) -> Iterator[None]:
        """Hold the lock of an entry, so that of several processes one computes it and the others read it then.

        If the cache cannot be locked, that is said once, and every process computes on its own.
        """
        with ExitStack() as stack:
            if self._is_writable:
                try:
                    stack.enter_context(lock_of(path, say=self._say))
                except MamError as error:
                    self._give_up(error)
            yield

    def tensors(self, path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """Read an entry of tensors, memory-mapped, with its notes; None if it is missing, damaged or outdated."""
        from safetensors import SafetensorError, safe_open

        try:
            if not path.is_file():
                return None
            with safe_open(str(path), framework="pt") as file:
                notes = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            is_whole = notes.pop("sum", None) == _sum(tensors, notes)
        except (SafetensorError, OSError):
            is_whole = False
        if not is_whole:
            _log_damaged(path)
            return None
        self._touch(path)
        return tensors, notes

    def keep_tensors(self, path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
        """Write an entry of tensors, or report why it cannot be written."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        def write(temporary: Path) -> None:
            plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            try:
                save_file(plain, temporary, {**notes, "sum": _sum(plain, notes)})
            except SafetensorError as error:  # hides the error of the disk
                raise MamError(f"Cannot write {path}: {first_line(error)}.") from error

        self._keep(path, HEADER + sum(tensor.nbytes for tensor in tensors.values()), write)

    def json(self, path: Path) -> dict[str, Any] | None:
        """Read an entry of JSON; None if it is missing or damaged."""
        try:
            if not path.is_file():
                return None
            entry: dict[str, Any] = json.loads(read_bytes(path, LARGE))
            is_whole = entry.pop("sha256") == sha256_json(entry)
        except (MamError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            is_whole = False
        if not is_whole:
            _log_damaged(path)
            return None
        self._touch(path)
        return entry

    def keep_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write an entry of JSON, or report why it cannot be written."""
        entry = {"sha256": sha256_json(content), **content}

        def write(temporary: Path) -> None:
            temporary.write_text(json.dumps(entry, ensure_ascii=False, allow_nan=False), encoding="utf-8")

        self._keep(path, 0, write)

    def _keep(self, path: Path, expected: int, write: Callable[[Path], None]) -> None:
        if not self._is_writable or expected > self._limit:
            return
        try:
            self._writes += 1
            if self._size < 0 or self._writes % 100 == 0:  # other processes write too
                self._size = sum(size for _, _, size in self._entries())
                self._mark()
                for left in abandoned(path for path in _named(self.folder, LEFT) if path.suffix != ".lock"):
                    left.unlink(missing_ok=True)
            if self._size + expected > self._limit:
                self._make_room(expected)
            with atomic_path(path, is_tidied=False) as temporary:
                write(temporary)
            self._size += path.stat().st_size
        except (MamError, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self._is_writable:
            self._is_writable = False
            self._say(f"the cache is no longer written; what is missing from it is computed again: {error}")

    def _mark(self) -> None:
        """Write the tag that makes this folder a cache."""
        if not (self.folder / TAG).exists():
            with atomic(self.folder / TAG) as file:
                file.write(f"{SIGNATURE}\n# This folder is a cache of mam. It can be deleted at any time.\n")

    def _make_room(self, wanted: int) -> None:
        """Remove the least recently used entries until ``wanted`` bytes fit below the low-tide mark."""
        entries = sorted(self._entries())
        self._size = sum(size for _, _, size in entries)
        for _, path, size in entries:
            if self._size + wanted <= LOW_TIDE * self._limit:
                break
            with suppress(OSError):  # another process was faster
                path.unlink()
            self._size -= size

    def _entries(self) -> Iterator[tuple[float, Path, int]]:
        for path in _named(self.folder, ENTRY):
            with suppress(OSError):  # removed by another process meanwhile
                status = path.stat()
                yield status.st_mtime, path, status.st_size

    def held(self) -> list[CacheUse]:
        """Return the use of the folder by kind."""
        by_kind: dict[str, list[tuple[float, Path, int]]] = {kind: [] for kind in KINDS}
        for entry in self._entries():
            by_kind[entry[1].parent.name].append(entry)
        uses = []
        for kind, entries in by_kind.items():
            nbytes = sum(size for _, _, size in entries)
            used = max((used for used, _, _ in entries), default=None)
            uses.append(CacheUse(kind, len(entries), nbytes, used))
        return uses

    def clear(self) -> tuple[int, int]:
        """Remove every entry and what killed processes left; nothing else that may be in the folder.

        Returns:
            The number of entries removed and their size in bytes.

        Raises:
            MamError: A file cannot be removed.
        """
        entries = list(self._entries())
        try:
            for path in [*(path for _, path, _ in entries), *_named(self.folder, LEFT)]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise MamError(f"{error.filename}: {error.strerror}. Remove {self.folder} by hand.") from error
        return len(entries), sum(size for _, _, size in entries)

    @staticmethod
    def _touch(path: Path) -> None:
        with suppress(OSError):  # the cache may be read-only for this user
            os.utime(path, (time.time(),) * 2)


def _named(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """Return the files of this kind of name in the folders of the kinds of entries, which are no links elsewhere."""
    folders = [folder / kind for kind in KINDS if not (folder / kind).is_symlink()]
    return [path for each in folders for path in each.glob("*") if name.fullmatch(path.name)]


def _refuse_others_folder(folder: Path) -> None:
    """Raise ConfigError for a folder that mam did not make as a cache, unless it holds nothing but a cache's files."""
    try:
        if (folder / TAG).is_file() or not folder.exists():
            return
        others = [path.name for path in folder.iterdir() if path.name not in KINDS or not path.is_dir()]
        for kind in KINDS:
            inner = [path.name for path in (folder / kind).glob("*")]
            others += [f"{kind}/{name}" for name in inner if not ENTRY.fullmatch(name) and not LEFT.fullmatch(name)]
    except NotADirectoryError:
        raise ConfigError(f"cache_dir={folder}: is a file. Give a folder") from None
    except (OSError, ValueError):  # may not be looked at; said when it is first used
        return
    if others:
        raise ConfigError(
            f"cache_dir={folder}: is not a cache of mam (it contains {choices(others[:5])}). Give a new or empty folder"
        )


def _log_damaged(path: Path) -> None:
    log.warning("%s: is damaged or outdated and is computed again", path)


def _sum(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """Return a checksum of the tensors and notes; it protects against damage, not against tampering."""
    import torch
    import xxhash

    digest = xxhash.xxh3_64(json.dumps(dict(notes), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
