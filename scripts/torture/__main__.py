"""Run the attacks: `python -m scripts.torture`, or `python scripts/torture`; `--help` names the options."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.torture import shim, warm
from scripts.torture.cases import Case
from scripts.torture.table import KINDS, all_cases
from scripts.torture.turn import Verdict, take_turns
from scripts.torture.world import World


def main() -> int:
    """Return 1 if anything did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.torture", description="Attack mam, as a careful stranger would."
    )
    parser.add_argument("--quick", action="store_true", help="the part for CI: the same cases each time")
    parser.add_argument("--only", metavar="KIND", action="append", help=f"one of {', '.join(KINDS)}; repeatable")
    parser.add_argument("--case", metavar="TEXT", help="only cases with this in their names")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="each N-th case, beginning with the K-th")
    parser.add_argument("--minutes", type=float, default=30.0, help="no case is begun after this time")
    parser.add_argument("--seed", type=int, default=0, help="of random moments, and of the order of cases")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--keep", type=Path, help="a folder in which the places of cases that did not hold stay")
    options = parser.parse_args()
    cases = [
        case
        for case in all_cases(options.seed)
        if (not options.only or case.kind in options.only)
        and (not options.quick or case.is_quick)
        and (not options.case or options.case in case.name)
    ]
    first, _, step = options.part.partition("/")
    cases = cases[int(first) - 1 :: int(step)]
    if options.list:
        for case in cases:
            print(f"{case.kind}: {case.name}{' (quick)' if case.is_quick else ''}".encode("unicode_escape").decode())
        print(f"{len(cases)} cases")
        return 0
    folder = _with_shim()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    began = time.monotonic()
    try:
        warm.warm()
        print(f"{len(cases)} cases; warm after {time.monotonic() - began:.0f} s", flush=True)
        keep, until = options.keep and options.keep.absolute(), began + 60 * options.minutes
        verdicts = take_turns(in_turn(cases, options.seed), World(folder), options.jobs, until, keep)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report(verdicts, time.monotonic() - began)


def in_turn(cases: Sequence[Case], seed: int) -> list[Case]:
    """Return the cases mixed by ``seed``, and so that each kind advances alike, should time run out."""
    total, seen = Counter(case.kind for case in cases), Counter[str]()
    places = []
    for number, case in random.Random(seed).sample(list(enumerate(cases)), len(cases)):
        places.append((seen[case.kind] / total[case.kind], number))
        seen[case.kind] += 1
    return [cases[number] for _, number in sorted(places)]


def report(verdicts: list[Verdict], seconds: float) -> int:
    """Print ``held N of M`` for each kind, of those tried; return the exit code."""
    tried, held, left = Counter[str](), Counter[str](), Counter[str]()
    for verdict in verdicts:
        (left if verdict.skipped else tried)[verdict.case.kind] += 1
        held[verdict.case.kind] += not verdict.complaints and not verdict.skipped
    for kind in {verdict.case.kind: None for verdict in verdicts}:
        note = f" ({left[kind]} not begun or not possible here)" if left[kind] else ""
        print(f"{kind}: held {held[kind]} of {tried[kind]}{note}")
    for reason, count in Counter(verdict.skipped for verdict in verdicts if verdict.skipped).items():
        print(f"left out {count}: {reason}")
    print(f"all: held {sum(held.values())} of {sum(tried.values())} in {seconds / 60:.1f} minutes")
    return int(any(verdict.complaints for verdict in verdicts))


def _with_shim() -> Path:
    """Start this program again with the shim, on one core a process and offline; return the folder for all places."""
    if shim.LOADED in os.environ:
        return Path(os.environ[shim.FOLDER])
    folder = Path(tempfile.mkdtemp(prefix="mam-torture-"))
    library = shim.build(folder)
    if library is None:
        print("no C compiler: faults and kills at a write are left out", flush=True)
    own = {shim.LOADED: str(library or ""), shim.FOLDER: str(folder), "HF_HOME": str(folder / "hf")}
    if library is not None:
        own["LD_PRELOAD"] = str(library)
    os.chdir(Path(__file__).parents[2])
    words = [sys.executable, "-m", "scripts.torture", *sys.argv[1:]]
    sys.stdout.flush()
    return os.execve(sys.executable, words, os.environ | warm.CORES | warm.OFFLINE | own)


if __name__ == "__main__":
    sys.exit(main())
