"""Run every benchmark of sweeping and write RESULTS.md beside them.

python scripts/bench/all.py [FOLDER]   # FOLDER: real weights and recordings, for the races
"""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).parent
SCRIPTS = ("bootstrap", "merge", "race", "growth", "sweep")
KEPT = "## Profiles"  # what is written by hand stands from here on


def processor() -> str:
    """What the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.is_file() else None
    return found[1] if found else platform.processor()


def main() -> None:
    """Run and write."""
    start, parts = time.perf_counter(), []
    for name in SCRIPTS:
        more = sys.argv[1:] if name == "race" else []
        print(f"== {name}", flush=True)
        shown = subprocess.run([sys.executable, str(HERE / f"{name}.py"), *more], capture_output=True, text=True)
        if shown.returncode:
            sys.exit(f"{shown.stdout}{shown.stderr}")
        print(shown.stdout, end="", flush=True)
        parts.append(f"`python scripts/bench/{name}.py`\n\n```\n{shown.stdout}```\n")
    path = HERE / "RESULTS.md"
    old = path.read_text() if path.is_file() else ""
    kept = old[old.index(KEPT) :] if KEPT in old else f"{KEPT}\n"
    head = (
        f"# Benchmarks\n\n`make bench` on {datetime.date.today()}: {processor()}, {torch.get_num_threads()} threads,"
        f" Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__};"
        f" {(time.perf_counter() - start) / 60:.0f} minutes. Written by `scripts/bench/all.py`.\n"
    )
    path.write_text("\n".join([head, *parts, kept]))


if __name__ == "__main__":
    main()
