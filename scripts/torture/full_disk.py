"""A small file system that fills up or may only be read, as outputs, cache, TMPDIR or HOME."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

from scripts.torture import judge
from scripts.torture.cases import Case
from scripts.torture.commands import WRITERS, against, reference
from scripts.torture.faults import CORE, again
from scripts.torture.turn import NotHereError
from scripts.torture.warm import Command
from scripts.torture.world import Place

KIND = "full disk"
SIZES = (0, 4, 8, 16, 32, 64, 128, 256, 1024)  # KiB, in pages of which the folder itself takes one; 0: read-only
WHERE = ("outputs", "cache", "tmp", "home")
COMMANDS = ("run", "run from disk", "sweep", "lmam", "optuna", "report", "merge", "export", "score")


def cases() -> list[Case]:
    """Return each place that fills, at different sizes."""
    made: list[Case] = []
    for name in COMMANDS:
        for where in WHERE:
            sizes = (
                SIZES[:: 1 if name in CORE else 2]
                if where == "outputs"
                else SIZES[::3]
                if where == "cache"
                else SIZES[:2]
            )
            for size in sizes:
                quick = len(made) % 17 == 0 and name != "lmam"
                what = f"of {size} KiB" if size else "that may only be read"
                made.append(Case(KIND, f"{name}: {where} {what}", partial(act, name, where, size), quick))
    return made


def act(name: str, where: str, size: int, place: Place) -> list[str]:
    """Run a command where a small file system is mounted; then, with room, once more."""
    if os.geteuid() != 0:
        raise NotHereError("only root can mount a small file system")
    writer, expected = WRITERS[name], reference(place.world, name)
    folder = {"outputs": _written(place, name), "cache": place.cache, "tmp": place.tmp, "home": place.home}[where]
    writer.prepare(place)
    before = set(judge.snapshot(place.root))
    place.changing = writer.changing(place)
    if folder.exists() and any(folder.iterdir()):  # what is there already has to fit
        raise NotHereError("the command starts with files there")
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size}k" if size else "ro"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise NotHereError(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        env = {"MAM_CACHE": None, "XDG_CACHE_HOME": None} if where == "home" else {}
        seen, found = place.judged(lambda: place.do(Command(writer.words, env=env)))
        if seen.code:
            found += judge.of_refusal(seen)
        found += against(expected, place, writer, is_whole=seen.code == 0)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    if where == "home":
        found = [complaint for complaint in found if not complaint.startswith(("left behind: home", "changed: home"))]
    complaints = [f"on a full disk: {complaint}" for complaint in found]
    return complaints + again(name, place, before)


def _written(place: Place, name: str) -> Path:
    made = WRITERS[name].made
    return place.work / made[0] if made and made[0] != "run" else place.outputs
