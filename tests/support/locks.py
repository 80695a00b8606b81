"""A process that holds a claim until it is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLDER = """
import sys, time; from pathlib import Path; from mam.locks import claimed
with claimed(Path(sys.argv[1]), sys.argv[2], lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held(file: Path, key: str) -> Iterator[subprocess.Popen[str]]:
    """Hold the claim to ``key`` in another process, which is killed at the end."""
    words = [sys.executable, "-c", HOLDER, file, key]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()
