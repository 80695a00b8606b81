"""The commands that write, what they start from, and what they leave when nobody disturbs them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.torture import judge
from scripts.torture.warm import Command
from scripts.torture.world import QUICK, TRAINED, Place, World


def _nothing(place: Place) -> None:
    """Leave the place as it is."""


def _with_sweep(place: Place) -> None:
    words = ("run", "--multirun", "lam=0,0.1", "control=none", *QUICK)
    shutil.copytree(place.world.finished("sweep", *words), place.outputs, symlinks=True)


def _with_run(place: Place) -> None:
    shutil.copytree(place.world.a_run(), place.work / "run")


def _with_cache(place: Place) -> None:
    place.run("run", *QUICK, *CACHED)
    shutil.rmtree(place.outputs)


def _with_export(place: Place) -> None:
    _with_run(place)
    place.run("export", "run", "exported")


CACHED = ("evaluate.memory_gb=0.001",)  # states and audio go to the disk
DEV = ("data.limit=4", "evaluate.draws=100")


@dataclass(frozen=True)
class Writer:
    """A command that writes. ``made``: folders below ``work`` that it makes besides outputs, and does not replace."""

    words: tuple[str, ...]
    prepare: Callable[[Place], None] = _nothing
    made: tuple[str, ...] = ()

    def changing(self, place: Place) -> list[Path]:
        """Return what the command may change besides outputs and cache."""
        return [place.work / name for name in self.made]


WRITERS: dict[str, Writer] = {
    "run": Writer(("run", *QUICK, "evaluate.by=[speaker]")),
    "run from disk": Writer(("run", *QUICK, *CACHED)),
    "sweep": Writer(("run", "--multirun", "lam=0,0.1", "control=none", *QUICK)),
    "study": Writer(("run", "experiment=lambda_grid", "study.axes.lam=[0.1]", *QUICK)),
    "events": Writer(("run", "model=demo_beats_vit", "data=demo_sounds", "data.fold=1")),
    "finetune": Writer(("run", "train=finetune", "lam=0", *TRAINED)),
    "lmam": Writer(("run", "train=lmam", *TRAINED)),
    "optuna": Writer(("run", "tune=optuna", "tune.evaluations=3", *DEV)),
    "cmaes": Writer(("run", "tune=cmaes", "tune.evaluations=8", *DEV)),
    "golden": Writer(("run", "tune=golden", "tune.evaluations=3", *DEV)),
    "race": Writer(("run", "tune=race", "tune.values=[0,0.1]", *DEV)),
    "report": Writer(("report", "outputs"), _with_sweep),
    "merge": Writer(("merge", "lam=0.1", "out=merged"), made=("merged",)),
    "export": Writer(("export", "run", "exported"), _with_run, made=("exported",)),
    "export again": Writer(
        ("export", "run", "exported", "force=true"),
        _with_export,
        made=("exported",),
    ),
    "score": Writer(("score", "run", "normalizer=none"), _with_run, made=("run",)),
    "push": Writer(("push", "run", "me/torture", "out=pushed"), _with_run, made=("pushed",)),
    "cache clear": Writer(("cache", "clear"), _with_cache),
}


@dataclass(frozen=True)
class Reference:
    """What an undisturbed command leaves: its runs, the digests of files that are alike each time, its calls."""

    code: int
    runs: dict[str, str]
    files: dict[str, str]
    names: list[str]
    calls: dict[str, int]
    seconds: float
    nbytes: int


def reference(world: World, name: str) -> Reference:
    """Return what an undisturbed command leaves; it is run twice to see which files are alike."""
    folder = world.thing(f"reference {name}", lambda draft: _make_reference(world, name, draft))
    return Reference(**json.loads((folder / "reference.json").read_text()))


def _make_reference(world: World, name: str, draft: Path) -> None:
    writer, made = WRITERS[name], []
    for attempt in ("first", "second"):
        place = Place(world, draft / attempt)
        writer.prepare(place)
        seen = place.do(Command(writer.words, seconds=120))
        if seen.code and writer.words[0] != "push":
            raise RuntimeError(f"{name}: exit code {seen.code}: {seen.text[-3000:]}")
        made.append((place, seen, digests(place, writer)))
    (first, seen, old), (_, _, new) = made
    alike = {path: digest for path, digest in old.items() if new.get(path) == digest}
    nbytes = (
        sum(path.stat().st_size for path in first.outputs.rglob("*") if path.is_file()) if first.outputs.is_dir() else 0
    )
    found = Reference(
        seen.code,
        judge.essence(first.outputs),
        alike,
        sorted(set(old) & set(new)),
        dict(seen.calls),
        seen.seconds,
        nbytes,
    )
    (draft / "reference.json").write_text(json.dumps(asdict(found)))
    for attempt in ("first", "second"):
        shutil.rmtree(draft / attempt)
        shutil.rmtree(draft / f"{attempt}.seen", ignore_errors=True)


def digests(place: Place, writer: Writer) -> dict[str, str]:
    """Return the digests of what a command made, but for runs, whose names have times in them."""
    roots = [*writer.changing(place), place.outputs / "report"]
    files = [path for root in roots if root.is_dir() for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(place.work)): _digest(path.read_bytes()) for path in files}


def _digest(content: bytes) -> str:
    """Return a digest that does not depend on the state of the repository that mam is run from."""
    return hashlib.sha256(re.sub(rb'"(commit|dirty)": [^,\n]*', b"", content)).hexdigest()


def against(expected: Reference, place: Place, writer: Writer, is_whole: bool) -> Iterator[str]:
    """Yield how a place differs from what the undisturbed command leaves."""
    yield from judge.differences(expected.runs, judge.essence(place.outputs), is_whole)
    now = digests(place, writer)
    if is_whole:
        for name in expected.names:
            if name not in now:
                yield f"there is no {name}"
            elif name in expected.files and now[name] != expected.files[name]:
                yield f"{name} differs from the undisturbed one"
        yield from (f"a further file: {name}" for name in now if name not in expected.names and ".mam" not in name)
