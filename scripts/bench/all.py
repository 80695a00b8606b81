"""Run every benchmark of sweeping and write RESULTS.md beside them.

python scripts/bench/all.py [NAME ...] [--real FOLDER] [--recordings FOLDER]
"""

from __future__ import annotations

import argparse
import datetime
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).parent
SCRIPTS = (
    "answers",
    "memory",
    "significance",
    "merge",
    "race",
    "per_layer",
    "growth",
    "sweep",
    "events",
    "lmam",
    "whisper",
)


def processor() -> str:
    """What the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.is_file() else None
    return found[1] if found else platform.processor()


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SCRIPTS, []], help="which; all without")
    parser.add_argument("--real", type=Path, help="real weights and recordings, for the races and Whisper")
    parser.add_argument("--recordings", type=Path, help="an audiofolder of short real recordings, for Whisper")
    arguments = parser.parse_args()
    path = HERE / "RESULTS.md"
    old = path.read_text() if path.is_file() else ""
    sections = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", old, re.DOTALL | re.MULTILINE))
    given = [str(path) for path in (arguments.real, arguments.recordings) if path]
    further = {"race": given[:1], "whisper": given}
    for name in arguments.names or SCRIPTS:
        if name == "whisper" and len(given) < 2:
            print("== whisper needs --real and --recordings", flush=True)
            continue
        start = time.perf_counter()
        print(f"== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), *further.get(name, [])]
        shown = subprocess.run(command, capture_output=True, text=True)
        if shown.returncode:
            sys.exit(f"{shown.stdout}{shown.stderr}")
        print(shown.stdout, end="", flush=True)
        today, spent = datetime.date.today(), (time.perf_counter() - start) / 60
        sections[name] = (
            f"`python scripts/bench/{name}.py`, {spent:.1f} minutes on {today}\n\n```\n{shown.stdout}```\n\n"
        )
        write(path, sections)


def write(path: Path, sections: Mapping[str, str]) -> None:
    """Write what was measured, today or earlier, in order."""
    head = (
        f"# Benchmarks\n\n`make bench`: {processor()}, {torch.get_num_threads()} threads,"
        f" Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}."
        " Written by `scripts/bench/all.py`; what stands below Profiles is written by hand.\n\n"
    )
    names = [*SCRIPTS, "Profiles"]
    path.write_text(head + "".join(f"## {name}\n\n{sections[name]}" for name in names if name in sections))


if __name__ == "__main__":
    main()
