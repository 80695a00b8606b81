"""Locks between processes on one file system; the system releases them when a process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from mam.errors import MamError

LOOK = 0.5  # seconds between attempts to get a claim
SILENT = 5.0  # seconds that a lock is waited for before that is said
REPEATED = "equal commands at the same time may do the same work"
BUSY = (errno.EACCES, errno.EAGAIN)

log = logging.getLogger("mam")


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
                say(f"waiting for another process, which holds {lock.lock_file}")
            return lock.acquire(timeout=max(0.0, seconds - SILENT))
    except Timeout as error:
        raise MamError(f"Waited {seconds:.0f} s for {path}.lock. If no other mam run is alive, delete it.") from error
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        reason = getattr(error, "strerror", None) or error
        raise MamError(f"Cannot use the cache folder {path.parent} ({reason}). Set {other}.") from error


@contextmanager
def claimed(file: Path, key: str, when_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the claim to ``key``, so that of equal commands only one works on it; wait while another process holds it.

    All claims are locks on single bytes of one file, so that no file is left behind for each. Where the file system has
    no locks, nothing is claimed, which is logged.

    Args:
        file: The file of the claims; it is made if necessary.
        key: What is claimed.
        when_waiting: Called once if another process holds the claim.
    """
    handle = _opened(file)
    try:
        if handle is not None and not _try(handle, key):
            when_waiting()
            while not _try(handle, key):
                time.sleep(LOOK)
        yield
    finally:
        if handle is not None:
            os.close(handle)  # releases the claim


def is_claimed(file: Path, key: str) -> bool:
    """Return whether another process holds the claim to ``key``."""
    handle = _opened(file)
    if handle is None:
        return False
    try:
        return not _try(handle, key)
    finally:
        os.close(handle)


def _opened(file: Path) -> int | None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        log.warning("%s: cannot be locked (%s); %s", file, error, REPEATED)
        return None


def _try(handle: int, key: str) -> bool:
    """Return whether the claim was free and is now held; True as well where there are no locks."""
    byte = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7])
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        if error.errno in BUSY:
            return False
        log.warning("no locks on this file system (%s); %s", error, REPEATED)
    return True
