"""Commands at once: equal ones, different ones, and those that remove what others read."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

from scripts.torture import judge, warm
from scripts.torture.cases import Case
from scripts.torture.commands import CACHED, WRITERS, reference
from scripts.torture.warm import Command
from scripts.torture.world import QUICK, Place

KIND = "at once"
RUN = ("run", *QUICK)
EQUAL = ("run", "run from disk", "sweep", "study", "lmam", "finetune", "optuna", "cmaes", "golden", "race")
MIXED: dict[str, tuple[tuple[str, ...], ...]] = {
    "three different runs": (RUN, (*RUN, "lam=0.1"), (*RUN, "lam=0.2")),
    "three different runs from disk": tuple((*RUN, *CACHED, f"lam={lam}") for lam in (0.1, 0.2, 0.3)),
    "a run and a report": (RUN, ("report", "outputs", "out=outputs/report")),
    "a run and mam ls": (RUN, ("ls",)),
    "a run and cache clear": ((*RUN, *CACHED), ("cache", "clear")),
    "a sweep and cache clear": (
        ("run", "--multirun", "lam=0.1,0.2", *QUICK, *CACHED),
        ("cache", "clear"),
        ("cache", "clear"),
    ),
    "two cache clears": (("cache", "clear"), ("cache", "clear")),
    "a run and a sweep with it": (RUN, ("run", "--multirun", "lam=0,0.05,0.1", *QUICK)),
    "overlapping sweeps": (("run", "--multirun", "lam=0,0.1", *QUICK), ("run", "--multirun", "lam=0.1,0.2", *QUICK)),
    "a small cache": tuple((*RUN, *CACHED, f"lam={lam}", "evaluate.cache_gb=0.0001") for lam in (0.1, 0.2)),
    "two merges": (("merge", "lam=0.1", "out=merged"), ("merge", "lam=0.1", "out=merged")),
    "two different merges": (("merge", "lam=0.1", "out=merged"), ("merge", "lam=0.9", "out=merged")),
    "two reports": (("report", "outputs"), ("report", "outputs")),
    "two exports": (("export", "run", "exported"), ("export", "run", "exported")),
    "two scores": (("score", "run", "normalizer=none"), ("score", "run", "normalizer=none")),
}
QUICKLY = ("three different runs", "a run and cache clear", "two merges", "two exports", "a small cache")
MAY_FAIL = ("report", "ls", "merge", "export")  # for want of finished runs, or because the folder is taken


def cases() -> list[Case]:
    """Return equal and different commands at once."""
    made = []
    for name in EQUAL:
        for count in (2, 3):
            for delay in (0.0, 0.3):
                quick = name in ("run", "sweep") and (count, delay) == (2, 0.3)
                title = f"{count} equal commands ({name}), {delay:g} s apart"
                made.append(Case(KIND, title, partial(equal, name, count, delay), quick))
    for name, commands in MIXED.items():
        for delay in (0.0, 0.4):
            made.append(
                Case(
                    KIND,
                    f"{name}, {delay:g} s apart",
                    partial(mixed, commands, delay),
                    delay == 0.0 and name in QUICKLY,
                )
            )
    return made


def at_once(place: Place, commands: tuple[tuple[str, ...], ...], delay: float) -> list[warm.Seen]:
    """Start commands together, or a little apart; wait for all."""
    import time

    started = []
    for number, words in enumerate(commands):
        command = Command(words, seconds=150)
        scratch = place.scratch.with_name(f"{place.scratch.name}{number}")
        started.append((command, *warm.start(command, place.root, place.environment, scratch)))
        time.sleep(delay)
    seen = [warm.wait(pid, command, paths) for command, pid, paths in started]
    place.last = max(seen, key=lambda each: abs(each.code))
    return seen


def _of_all(place: Place, commands: tuple[tuple[str, ...], ...], delay: float) -> list[str]:
    before = judge.snapshot(place.root, [place.outputs, place.cache, *place.changing])
    complaints = []
    for words, seen in zip(commands, at_once(place, commands, delay), strict=True):
        name = " ".join(words[:3])
        complaints += [f"{name}: {complaint}" for complaint in judge.of_process(seen)]
        if seen.code and not (seen.code == 1 and words[0] in MAY_FAIL and seen.text.strip()):
            complaints.append(f"{name}: exit code {seen.code}: {judge.last_line(seen)}")
    complaints += judge.changes(before, judge.snapshot(place.root, [place.outputs, place.cache, *place.changing]))
    complaints += judge.of_outputs(place.outputs)
    complaints += [f"temporary file left: {path}" for path in place.root.rglob("*") if judge.is_temporary(path)]
    return list(dict.fromkeys(complaints))


def equal(name: str, count: int, delay: float, place: Place) -> list[str]:
    """Start a command several times; it must make each run once, with the undisturbed bytes."""
    expected = reference(place.world, name)
    commands = (WRITERS[name].words,) * count
    complaints = _of_all(place, commands, delay)
    complaints += judge.differences(expected.runs, judge.essence(place.outputs))
    made = Counter(judge.hash_of(path) for path in place.outputs.rglob("result.json"))
    complaints += [f"{times} folders of run {key[:8]}" for key, times in made.items() if times > 1]
    return complaints


def mixed(commands: tuple[tuple[str, ...], ...], delay: float, place: Place) -> list[str]:
    """Start different commands; each must do what it does alone."""
    import shutil

    verbs = {words[0] for words in commands}
    if verbs & {"export", "score"}:
        shutil.copytree(place.world.a_run(), place.work / "run")
    if verbs == {"report"}:
        WRITERS["report"].prepare(place)
    place.changing = [place.work / name for name in ("merged", "exported", "run")]
    complaints = _of_all(place, commands, delay)
    # A sweep makes a run again that was not evaluated on dev.
    made = Counter(judge.hash_of(path) for path in place.outputs.rglob("result.json") if _has_dev(path))
    if "run" in verbs:
        complaints += [f"{times} folders of run {key[:8]}" for key, times in made.items() if times > 1]
    if verbs == {"merge"} or verbs == {"export"}:
        folder = place.work / ("merged" if "merge" in verbs else "exported")
        complaints += [] if _loads(folder) else [f"{folder.name} is no checkpoint that can be read"]
    return complaints


def _has_dev(path: Path) -> bool:
    return json.loads(path.read_text(encoding="utf-8"))["dev"] is not None


def _loads(folder: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            return bool(file.keys())
    except (SafetensorError, OSError):
        return False
