"""Locks between processes on one file system; the system releases them when a process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from mam.errors import MamError

LOOK = 0.5  # seconds between attempts to get a claim
BUSY = -1  # in place of the descriptor of a file
ATTEMPTS = 100  # to lock a file that other processes remove when they need it no longer
SILENT = 5.0  # seconds that a lock is waited for before that is said

log = logging.getLogger("mam")


class BusyError(Exception):
    """Another process holds a claim that was not to be waited for."""


def lock_of(
    path: Path,
    seconds: float = 43_200,
    other: str = "cache_dir=FOLDER or MAM_CACHE",
    say: Callable[[str], None] = log.warning,
) -> AcquireReturnProxy[Any]:
    """Acquire a lock file beside ``path``, so that jobs on one file system take turns; it is released by ``with``.

    Args:
        path: The file that the jobs share.
        seconds: The longest time to wait.
        other: What the user sets for another folder, for the message.
        say: Called once if another process has held the lock for some seconds.

    Raises:
        MamError: Another process held the lock for ``seconds``, or the folder cannot be written.
    """
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return lock.acquire(timeout=min(SILENT, seconds))
        except Timeout:
            if seconds > SILENT:
                say(f"waiting for another process, which has locked {lock.lock_file}")
            return lock.acquire(timeout=max(0.0, seconds - SILENT))
    except Timeout as error:
        raise MamError(
            f"Waited {seconds:.0f} s for {path}.lock. If no other process of mam is running, delete the file."
        ) from error
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        reason = getattr(error, "strerror", None) or error
        raise MamError(f"Cannot use the cache folder {path.parent} ({reason}). Set {other}.") from error


@contextmanager
def claimed(file: Path, key: str, when_waiting: Callable[[], None] | None) -> Iterator[None]:
    """Hold the claim to ``key``, so that of equal commands only one works on it; wait while another process holds it.

    All claims are locks on single bytes of one file, of which a process holds one at a time. The last process removes
    the file, and its folder if that is empty and was made for it. Where the file system has no locks, nothing is
    claimed, which is logged.

    Args:
        file: The file of the claims.
        key: What is claimed.
        when_waiting: Called once if another process holds the claim; None: do not wait.

    Raises:
        BusyError: Another process holds the claim, and it is not to be waited for.
    """
    made = None if file.parent.exists() else file.parent
    handle = _taken(file, key)
    if handle is BUSY:
        if when_waiting is None:
            raise BusyError(key)
        when_waiting()
        while handle is BUSY:
            time.sleep(LOOK)
            handle = _taken(file, key)
    try:
        yield
    finally:
        if handle is not None:
            if _locks(handle, 0, 0):  # no other process holds a claim
                file.unlink(missing_ok=True)
            os.close(handle)  # releases the claim
        if made is not None:
            with suppress(OSError):  # it holds what was made meanwhile
                made.rmdir()


def _taken(file: Path, key: str) -> int | None:
    """Return a file descriptor that holds the claim, `BUSY` if another process does, None if there are no locks."""
    byte = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7])
    problem: OSError | None = None
    for _ in range(ATTEMPTS):
        handle = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if not _locks(handle, byte, 1):
                os.close(handle)
                return BUSY
            if os.path.samestat(os.fstat(handle), file.stat()):
                return handle
        except OSError as error:
            problem = error
        if handle is not None:
            os.close(handle)
        if problem is not None and not isinstance(problem, FileNotFoundError):  # which another process may cause
            break
    log.warning(
        "%s: cannot be locked (%s); if the same command is started twice, both may do the same work", file, problem
    )
    return None


def _locks(handle: int, start: int, length: int) -> bool:
    """Lock bytes of a file without waiting; return whether they were free. Raises OSError if there are no locks."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Mark a file or a folder as one that this process is writing; see `abandoned`."""
    handle = -1
    with suppress(OSError):  # a file system without locks: nothing is ever taken for abandoned there
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        if handle >= 0:
            os.close(handle)


def abandoned(paths: Iterable[Path], before: float | None = None) -> list[Path]:
    """Return those of the files and folders that a killed process left: no process has marked them as `in_use`.

    Args:
        paths: Which may be missing.
        before: The time, as in ``st_ctime``, that they must be older than; by default a second ago, since a process
            marks a file just after it makes it.
    """
    left = []
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ctime < (time.time() - 1 if before is None else before):
                left.append(path)
        except OSError:  # in use, or there are no locks
            pass
        finally:
            os.close(handle)
    return left
