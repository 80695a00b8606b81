"""Where a case happens: a place of its own, with models, recordings and finished runs made once for all cases."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.torture import judge, warm
from scripts.torture.warm import Command, Seen

ROOT = Path(__file__).parents[2]
QUICK = ("data.limit=2", "evaluate.draws=100")
TRAINED = (
    "train.steps=2",
    "train.evaluate_every=1",
    "train.log_every=1",
    "train.batch_size=2",
    "data.limit=2",
    "train.limit=2",
    "train.dev_limit=2",
)

SECRET = "torture-secret-7f3a"  # must never be shown


def _support(name: str) -> Any:
    """Return a module of the tests' helpers."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    return importlib.import_module(f"support.{name}")


@dataclass(frozen=True)
class World:
    """A folder of things that cases copy from; never changed once it is made."""

    folder: Path

    def thing(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the folder ``name``, made on first use."""
        path = self.folder / "things" / name
        if not path.exists():
            draft = path.with_name(f"{path.name}.{os.getpid()}")
            draft.parent.mkdir(parents=True, exist_ok=True)
            make(draft)
            if path.exists():  # another process was faster
                shutil.rmtree(draft, ignore_errors=True)
            else:
                draft.rename(path)
        return path

    def model(self, kind: str) -> Path:
        """Return a tiny random checkpoint: hubert, whisper, bert, vit, ast, beats (a file below the folder)."""
        from transformers.utils import logging

        models = _support("models")
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        if kind == "beats":
            return self.thing("beats", lambda folder: models.make_beats(folder / "beats.pt"))
        return self.thing(kind, getattr(models, f"make_{kind}"))

    def clips(self) -> Path:
        """Return a folder of four short recordings with metadata: train, dev and two of test."""
        splits = ["train", "train", "dev", "dev", "test", "test"]
        write = _support("audio").write_folder
        return self.thing("clips", lambda folder: write(folder, [0.6, 0.7, 0.5, 0.8, 0.6, 0.7], split=splits))

    def finished(self, name: str, *words: str) -> Path:
        """Return ``outputs`` of an undisturbed command."""

        def make(folder: Path) -> None:
            place = Place(self, folder)
            seen = place.run(*words)
            if seen.code:
                raise RuntimeError(f"mam {' '.join(words)}: exit code {seen.code}: {seen.text[-2000:]}")

        return self.thing(f"finished-{name}", make) / "work" / "outputs"

    def a_run(self) -> Path:
        """Return the folder of a finished run."""
        outputs = self.finished("run", "run", *QUICK)
        return next(outputs.rglob("result.json")).parent


@dataclass
class Place:
    """One case's own folder: ``in`` and ``work`` (where the command is started), outputs, cache, tmp, home."""

    world: World
    root: Path
    changing: list[Path] = field(default_factory=list)  # what commands may write besides outputs and cache
    last: Seen | None = None

    def __post_init__(self) -> None:
        for folder in (self.inputs, self.work, self.cache, self.tmp, self.home):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def inputs(self) -> Path:
        """The user's own files."""
        return self.root / "in"

    @property
    def work(self) -> Path:
        """The folder in which commands are started."""
        return self.root / "work"

    @property
    def outputs(self) -> Path:
        """Where runs go by default."""
        return self.work / "outputs"

    @property
    def cache(self) -> Path:
        """$MAM_CACHE."""
        return self.root / "cache"

    @property
    def tmp(self) -> Path:
        """$TMPDIR."""
        return self.root / "tmp"

    @property
    def home(self) -> Path:
        """$HOME."""
        return self.root / "home"

    @property
    def environment(self) -> dict[str, str]:
        """What the command is started with."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_PRELOAD") if name in os.environ}
        own = {"HOME": str(self.home), "TMPDIR": str(self.tmp), "MAM_CACHE": str(self.cache), "COLUMNS": "100"}
        return kept | own | warm.CORES | warm.OFFLINE

    @property
    def scratch(self) -> Path:
        """Where output is caught; outside of what is watched."""
        return self.root.with_name(f"{self.root.name}.seen")

    def run(self, *words: str) -> Seen:
        """Run mam undisturbed."""
        return self.do(Command(words))

    def do(self, command: Command) -> Seen:
        """Run a command and wait for it."""
        self.last = warm.run(command, self.root, self.environment, self.scratch)
        return self.last

    def copy(self, thing: Path, name: str) -> Path:
        """Copy a thing of the world into ``in``."""
        path = self.inputs / name
        if thing.is_dir():
            shutil.copytree(thing, path, symlinks=True)
        else:
            shutil.copy2(thing, path)
        return path

    def judged(self, act: Callable[[], Seen]) -> tuple[Seen, list[str]]:
        """Run something; return it with complaints about its process and about files."""
        changing = [self.outputs, self.cache, *self.changing]
        before = judge.snapshot(self.root, changing)
        old = list(judge.snapshot(self.outputs)) if self.outputs.is_dir() else []
        seen = act()
        complaints = list(judge.of_process(seen))
        complaints += judge.changes(before, judge.snapshot(self.root, changing))
        complaints += judge.of_outputs(self.outputs, old, may_resume=seen.code != 0)
        for folder in (self.cache, *self.changing):
            if folder.is_dir() and not folder.is_symlink():
                complaints += [f"temporary file left: {path}" for path in folder.rglob("*") if judge.is_temporary(path)]
        if SECRET in seen.text:
            complaints.append("shows the content of a file that it should not read")
        return seen, complaints
