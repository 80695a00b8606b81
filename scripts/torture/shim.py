"""The shim of shim.c: built with the C compiler, loaded before Python starts, told in a child which call fails."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

KINDS = ("open", "write", "rename", "fsync", "mkdir", "unlink")
LOADED = "MAM_TORTURE_SHIM"  # set in the process that was started with the shim
FOLDER = "MAM_TORTURE_FOLDER"
SOURCE = Path(__file__).with_name("shim.c")


@dataclass(frozen=True)
class Fault:
    """The ``nth`` call (from 1) of these kinds below the watched folder fails, once or from then on, or kills."""

    kinds: tuple[str, ...]
    nth: int
    error: str = "ENOSPC"
    is_lasting: bool = False
    kills: bool = False


def build(folder: Path) -> Path | None:
    """Compile the shim; None where there is no C compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def is_loaded() -> bool:
    """Return whether this process was started with the shim."""
    return hasattr(ctypes.CDLL(None), "torture_watch")


def watch(folder: Path, fault: Fault | None = None) -> None:
    """Count the calls below ``folder`` from now on; with ``fault`` one of them fails."""
    library = ctypes.CDLL(None)
    library.torture_watch(os.fsencode(folder))
    if fault is not None:
        bits = sum(1 << KINDS.index(kind) for kind in fault.kinds)
        number = getattr(errno, fault.error)
        library.torture_arm(bits, ctypes.c_long(fault.nth), number, int(fault.is_lasting), int(fault.kills))


def seen() -> dict[str, int]:
    """Return the number of calls by kind."""
    library = ctypes.CDLL(None)
    library.torture_count.restype = ctypes.c_long
    return {kind: library.torture_count(number) for number, kind in enumerate(KINDS)}


def failed() -> str:
    """Return the kind and path of the first call that failed; "" if none did."""
    library = ctypes.CDLL(None)
    library.torture_failed.restype = ctypes.c_char_p
    return os.fsdecode(library.torture_failed())
