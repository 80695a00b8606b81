"""Free memory, and running out of it as one kind of error: on a GPU, on a CPU, or for another thread."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mam.errors import MamError, first_line

# What libraries write in errors of types that they use for other purposes too.
SIGNS = ("allocate memory", "out of memory", "not enough memory", "start new thread", "bad_alloc", "bad alloc")
FEWER = "Lower evaluate.memory_gb, or use fewer or shorter recordings."
CGROUP = Path("/sys/fs/cgroup")


def is_shortage(error: BaseException) -> bool:
    """Return whether an error means that memory ran out."""
    if isinstance(error, MamError):
        return False
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (  # torch's, without importing it
            isinstance(error, OSError) and error.errno == errno.ENOMEM
        )
    ):
        return True
    return isinstance(error, Exception) and any(sign in str(error).lower() for sign in SIGNS)


@contextmanager
def explained(remedy: str = FEWER) -> Iterator[None]:
    """Raise MamError with a remedy if memory runs out in this context; other errors are raised as they are."""
    try:
        yield
    except Exception as error:  # torch, numpy, safetensors and Python have no class in common for it
        if not is_shortage(error):
            raise
        raise MamError(
            f"not enough memory ({first_line(error)[:200]}; {gigabytes(free_memory())} are free). {remedy}"
        ) from error


def free_memory() -> int:
    """Return the number of bytes that this process can still allocate without swapping.

    That is what the machine has, or what is left of a limit of the process (``ulimit -v``) or of its control group, as
    Slurm and containers set it.
    """
    from psutil import Process, virtual_memory

    free = int(virtual_memory().available)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - Process().memory_info().vms)
    return max(0, min([free, *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    """Yield what is left of the limits of the process's control groups (version 2) and of those above."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    for folder in (CGROUP / own, *(CGROUP / own).parents):
        if not folder.is_relative_to(CGROUP):
            return
        try:
            limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        except (OSError, ValueError):  # no such group here, or "max": no limit
            continue
        yield limit - used


def gigabytes(nbytes: float) -> str:
    """Format a number of bytes in GB, or in MB if it is below 0.1 GB, with two digits."""
    if nbytes < 1e8:
        return f"{nbytes / 1e6:.2g} MB"
    return f"{nbytes / 1e9:.2g} GB" if nbytes < 1e11 else f"{nbytes / 1e9:.0f} GB"
