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
SCRIPTS = {  # name of the script -> heading, and what it measures
    "answers": (
        "Response times",
        "Seconds until a command that loads little or nothing answers: the median of several.",
    ),
    "memory": ("Memory of many recordings", "Peak memory of a run on many short recordings, with the demo pair."),
    "significance": (
        "Significance test",
        "The test of one paired difference. The alternative calls jiwer for each random draw.",
    ),
    "merge": (
        "Merge",
        "Merging Q, K and V of two large models. The alternative is a hand-written merge of two state dicts."
        " Both start with the target in memory.",
    ),
    "race": (
        "Racing",
        "Choosing among 11 λ by `tune=race`, compared with `tune=grid`. Dev sets are drawn with replacement from real"
        " errors. Two choices are not separable if a paired t test on dev does not distinguish them at 5 %.",
    ),
    "per_layer": (
        "One λ per layer",
        "A λ for every layer by CMA-ES, compared with one λ by racing, at the same cost and at four times the cost.",
    ),
    "growth": ("Growth of a sweep", "The time of a sweep with more audio and with more λ, on the demo pair."),
    "sweep": (
        "Sweep",
        "A sweep over 11 λ with random weights. The loop is what one would write by hand: for each λ load both models,"
        " merge the state dicts, run transformers' pipeline at its best batch size and compute WER. The floor is the"
        " work that no sweep can avoid.",
    ),
    "events": (
        "Audio events",
        "A sweep over 5 λ and 5 folds with random weights. The loop extracts features and fits a probe for each λ and"
        " fold.",
    ),
    "lmam": (
        "L-MAM",
        "A training step of L-MAM, compared with one of regular fine-tuning (FT), with random weights.",
    ),
    "whisper": (
        "Whisper",
        "One λ on short real recordings. The loop runs transformers' pipeline on the merged model.",
    ),
}
NOTES = "Notes"  # a section that is written by hand


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
    sections = read(path.read_text() if path.is_file() else "")
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
            f"`python scripts/bench/{name}.py`, {spent:.1f} minutes on {today}:\n\n```\n{shown.stdout}```\n\n"
        )
        write(path, sections)


def read(page: str) -> dict[str, str]:
    """Return what was measured earlier, by the name of the script, and the notes."""
    names = {heading: name for name, (heading, _) in SCRIPTS.items()}
    found = re.findall(r"^## (.+?)\n\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    return {names.get(heading, heading): text[max(0, text.find("`python")) :] for heading, text in found}


def write(path: Path, sections: Mapping[str, str]) -> None:
    """Write what was measured, today or earlier, in order."""
    head = (
        "# Benchmarks\n\nThis page shows how fast mam is, compared with what one would write by hand. `make bench` runs"
        f" everything and writes this page. Machine: {processor()}, {torch.get_num_threads()} threads,"
        f" Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}.\n\n"
        '- "Aim" is the project\'s own target for a number.\n'
        "- A ratio such as loop/mam above 1 means that mam is faster.\n\n"
    )
    measured = [
        f"## {heading}\n\n{what}\n\n{sections[name]}" for name, (heading, what) in SCRIPTS.items() if name in sections
    ]
    notes = f"## {NOTES}\n\n{sections[NOTES]}" if NOTES in sections else ""
    path.write_text(head + "".join(measured) + notes)


if __name__ == "__main__":
    main()
