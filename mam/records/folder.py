"""The run folder: created once the input is checked, and finished by `result.json`, which is written last.

outputs/<date>/<time>-<signature>/
    result.json         schema version 1 (mam/records/result.schema.json); a folder with this file is a finished run
    predictions.jsonl   one line per example: id, audio, duration, reference, prediction (raw text); for audio events
                        id, audio, fold, label, prediction, scores_top5; and the columns of evaluate.by
    predictions-N.jsonl the same for further draws of a random control
    baseline.jsonl      the same for the λ=0 baseline, so that a run can be scored again without a model
    lambda.csv          step, layer, part, lam (and fold, if several were trained)
    metrics.jsonl       of a training: loss, learning rate, metrics on dev at each log
    model/              of a training: the plain checkpoint, λ folded in
    attention.csv       entropy and scale of the attention's logits without positions, by layer, merged and unmerged;
                        merged is the last draw of a random control, or the last λ of a tuned run
    confusion*.csv      audio events: true classes by predicted ones, merged and baseline; classes.csv: error by class
    groups.csv          rates of both sides and their difference by the values of the columns of evaluate.by
    mam.log, .hydra/    the log, the configuration
    .running            while the run goes on, locked by its process: what a killed one left is known by it, and removed
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from mam import processes
from mam.config.job import Job, hydra_files
from mam.errors import MamError, RecordError, shown
from mam.extensions import blaming
from mam.files import atomic, expanded, write_csv, write_json, write_jsonl
from mam.locks import abandoned, in_use
from mam.memory import explained
from mam.records.reading import BASELINE, LAMBDA, LOG, RESULT, of_draw
from mam.records.result import RunResult, plain
from mam.records.validity import parse_result

RUNNING = ".running"
STARTED = "????-??-??/??-??-??-*"  # below the outputs: folders of runs and studies
log = logging.getLogger("mam")
PartsAt = Callable[[int], Sequence[str]]  # layer -> its merged parts


class _Log(logging.FileHandler):
    """The log of a run. That it cannot be written is kept for `RunFolder.finish`; logging would print a traceback."""

    failure: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Keep the first error of writing."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        self.failure = self.failure or error if isinstance(error, OSError) else self.failure

    def close(self) -> None:
        """Close the file; what is still to be written may fail."""
        try:
            super().close()
        except OSError as error:
            self.failure = self.failure or error


class _Line(logging.Formatter):
    """Lines without control characters, which names of files and texts may have."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        return shown(super().format(record))


class RunFolder:
    """The folder of one run while it is being filled."""

    def __init__(self, path: Path, log_file: _Log | None = None) -> None:
        self.path, self._log_file = path, log_file
        self.when_finished: list[Callable[[], None]] = []

    def predictions(self, merged: Sequence[list[dict[str, Any]]], baseline: list[dict[str, Any]]) -> None:
        """Write both sides, one line per example; each further draw of a random control has its own file."""
        for draw, rows in enumerate(merged):
            write_jsonl(self.path / of_draw(draw), rows)
        write_jsonl(self.path / BASELINE, baseline)

    def jsonl(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write ``name.jsonl``, one line per row."""
        write_jsonl(self.path / f"{name}.jsonl", rows)

    def lambdas(self, lams: Sequence[Sequence[float]], parts_at: PartsAt, step: int = 0) -> None:
        """Write λ of every layer for each source, for each of the parts that ``parts_at`` gives for the layer."""
        several = len(lams) > 1
        with atomic(self.path / LAMBDA) as file:
            file.write(f"step,layer,part,lam{',source' if several else ''}\n")
            for source, by_layer in enumerate(lams, 1):
                last = f",{source}" if several else ""
                for layer, lam in enumerate(by_layer):
                    file.writelines(f"{step},{layer},{part},{lam!r}{last}\n" for part in parts_at(layer))

    def table(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """Write ``name.csv``; the first row is the heading."""
        with atomic(self.path / f"{name}.csv") as file:
            write_csv(file, rows)

    def finish(self, result: RunResult) -> None:
        """Write the result, after checking that it can be read again. This marks the run as finished."""
        written = plain(result)
        parse_result(json.dumps(written), self.path / RESULT)
        failure = self._log_file and self._log_file.failure
        if failure:
            raise RecordError(
                f"Cannot write {self.path / LOG}: {failure.strerror}. Free disk space or set outputs=FOLDER."
            )
        write_json(self.path / RESULT, written)
        for act in self.when_finished:
            act()


class Elsewhere(RunFolder):
    """The run folder of a process other than the main one: nothing is written."""

    def predictions(self, merged: Sequence[list[dict[str, Any]]], baseline: list[dict[str, Any]]) -> None:  # noqa: D102
        return

    def jsonl(self, name: str, rows: list[dict[str, Any]]) -> None:  # noqa: D102
        return

    def lambdas(self, lams: Sequence[Sequence[float]], parts_at: PartsAt, step: int = 0) -> None:  # noqa: D102
        return

    def table(self, name: str, rows: Sequence[Sequence[Any]]) -> None:  # noqa: D102
        return

    def finish(self, result: RunResult) -> None:  # noqa: D102
        return


@contextmanager
def open_run(job: Job, outputs: Path) -> Iterator[RunFolder]:
    """Create the folder of one run under ``outputs``, with its log and its configuration, in the main process only.

    The folder is removed after an error that the user can fix (MamError, errors of the system) and after an interrupt.
    After any other error it stays, with the traceback in its log. What a killed process left of the same run is removed
    when the run is started again.

    Raises:
        RecordError: the folder cannot be written.
    """
    outputs = outputs.absolute()
    if not processes.is_main():
        log.addHandler(logging.NullHandler())
        yield Elsewhere(outputs)
        return
    existing = _existing(outputs)
    path = _new_folder(outputs, job.signature)
    handler = _Log(path / LOG, encoding="utf-8")
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        # Errors are put into words here, so that this folder is removed after those that the user can fix.
        with _marked(path), blaming(), explained():
            _remove_killed(expanded(job.config.outputs).absolute(), path, job.signature)
            _write_hydra(path / ".hydra", job)
            yield RunFolder(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path, handler)
    except (MamError, OSError, KeyboardInterrupt):
        handler.close()
        if not (path / RESULT).exists():  # a finished run stays even if a later step fails
            _remove(path, existing)
        raise
    except BaseException:
        log.exception("the run did not finish")
        raise
    finally:
        root.removeHandler(handler)
        handler.close()


def run_root(outputs: str) -> Path:
    """Return the folder for a single run's folder: ``outputs/<date>``."""
    return expanded(outputs) / f"{datetime.now():%Y-%m-%d}"


def refuse_unwritable(outputs: Path) -> None:
    """Raise RecordError if ``outputs`` cannot be written, before any work is done."""
    existing = _existing(outputs.absolute())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RecordError(f"outputs={outputs}: {existing} cannot be written. Set outputs=FOLDER.")


def _existing(folder: Path) -> Path:
    """Return the folder itself or the nearest parent that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _remove(path: Path, existing: Path) -> None:
    """Remove a run's folder, and its parents up to ``existing`` that are empty."""
    shutil.rmtree(path, ignore_errors=True)
    for folder in path.parents:
        if folder == existing or any(folder.iterdir()):
            break
        folder.rmdir()


@contextmanager
def _marked(path: Path) -> Iterator[None]:
    """Mark a folder as that of a running process; the file has its name only once it is locked."""
    new = path / f"{RUNNING}.new"
    new.touch()
    with in_use(new):
        new.replace(path / RUNNING)
        try:
            yield
        finally:
            (path / RUNNING).unlink(missing_ok=True)


def _remove_killed(outputs: Path, own: Path, signature: str) -> None:
    """Remove unfinished folders of the same run below ``outputs``, whose process was killed."""
    runs = [run for depth in ("*", "*/*") for run in outputs.glob(f"{depth}/*-{signature}*") if run != own]
    marked = abandoned((run / RUNNING for run in runs), before=math.inf)
    unmarked = abandoned(run / f"{RUNNING}.new" for run in runs)  # killed before it was marked
    for marker in (*marked, *unmarked):
        with suppress(OSError):  # another process was faster
            if (marker.parent / RESULT).exists():
                marker.unlink()
            else:
                _remove(marker.parent, outputs)
                log.warning("%s: removed, since its run was killed", marker.parent)
    _remove_empty(outputs)


@cache
def _remove_empty(outputs: Path) -> None:
    """Remove empty folders of commands that were killed at once. A process looks once, since there may be many."""
    for folder in abandoned(path for path in outputs.glob(STARTED) if path.is_dir()):
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def _new_folder(outputs: Path, signature: str) -> Path:
    try:
        for attempt in range(1000):
            suffix = f"-{attempt + 1}" if attempt else ""
            path = outputs / f"{datetime.now():%H-%M-%S}-{signature}{suffix}"
            outputs.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError, FileNotFoundError):
                # The same run was started in the same second, by force=true or another job; or another process took
                # the empty folder of the study for one that a killed command left.
                path.mkdir()
                return path
    except OSError as error:
        raise RecordError(f"outputs={outputs}: cannot be written ({error.strerror}). Set outputs=FOLDER.") from error
    raise RecordError(f"outputs={outputs}: has 1,000 folders for {signature} from the same second. Set outputs=FOLDER.")


def _write_hydra(folder: Path, job: Job) -> None:
    """Write ``.hydra/`` as Hydra itself does."""
    for name, text in hydra_files(job).items():
        with atomic(folder / name) as file:
            file.write(text)
