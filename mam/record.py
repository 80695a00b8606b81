"""The run folder: made late, filled, and finished by `result.json`, which is written last.

outputs/<date>/<time>-<signature>/
    result.json         schema version 1 (mam/result.schema.json); a folder that has one is a finished run
    predictions.jsonl   one line an example: id, audio, duration, reference, prediction (raw text); of audio events
                        id, audio, fold, label, prediction, scores_top5
    predictions-N.jsonl the same of further draws of a random control
    baseline.jsonl      the same of the λ=0 baseline, so that a run can be scored again without a model
    lambda.csv          step, layer, part, lam (and fold, where several were trained)
    metrics.jsonl       of a training: loss, learning rate, metrics of dev at each log
    model/              of a training: the plain checkpoint, λ folded in
    attention.csv       entropy and scale of the attention's logits, by layer, merged and unmerged
    confusion*.csv      audio events: true classes by predicted ones, merged and baseline; classes.csv: error by class
    mam.log, .hydra/    what was said, what was configured
"""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from omegaconf import OmegaConf

from mam import processes
from mam.compose import Job, without_hydra
from mam.errors import MamError, RecordError
from mam.files import atomic, expanded, read_jsonl, write_json, write_jsonl

RESULT, PREDICTIONS, BASELINE, LAMBDA, LOG = (
    "result.json",
    "predictions.jsonl",
    "baseline.jsonl",
    "lambda.csv",
    "mam.log",
)
SCHEMA = 1

log = logging.getLogger("mam")


class RunFolder:
    """One run's folder while it is being filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.when_finished: list[Callable[[], None]] = []

    def predictions(self, merged: Sequence[list[dict[str, Any]]], baseline: list[dict[str, Any]]) -> None:
        """Write both sides, one line an example; further draws of a random control to files of their own."""
        for draw, rows in enumerate(merged):
            write_jsonl(self.path / _of_draw(draw), rows)
        write_jsonl(self.path / BASELINE, baseline)

    def jsonl(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write ``name.jsonl``, one line a row."""
        write_jsonl(self.path / f"{name}.jsonl", rows)

    def lambdas(self, lams: Sequence[float], parts: Sequence[str], step: int = 0) -> None:
        """Write λ of every layer and part."""
        with atomic(self.path / LAMBDA) as file:
            file.write("step,layer,part,lam\n")
            for layer, lam in enumerate(lams):
                file.writelines(f"{step},{layer},{part},{lam!r}\n" for part in parts)

    def table(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """Write ``name.csv``; the first row is the heading."""
        with atomic(self.path / f"{name}.csv") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def finish(self, result: dict[str, Any]) -> None:
        """Check the result against its schema and write it: from now on the run is finished."""
        validate(result, self.path / RESULT)
        write_json(self.path / RESULT, result)
        for act in self.when_finished:
            act()


class Elsewhere(RunFolder):
    """The run folder of a process that is not the one that writes: nothing is written."""

    def predictions(self, merged: Sequence[list[dict[str, Any]]], baseline: list[dict[str, Any]]) -> None:  # noqa: D102
        return

    def jsonl(self, name: str, rows: list[dict[str, Any]]) -> None:  # noqa: D102
        return

    def lambdas(self, lams: Sequence[float], parts: Sequence[str], step: int = 0) -> None:  # noqa: D102
        return

    def table(self, name: str, rows: Sequence[Sequence[Any]]) -> None:  # noqa: D102
        return

    def finish(self, result: dict[str, Any]) -> None:  # noqa: D102
        return


@contextmanager
def open_run(job: Job, outputs: Path) -> Iterator[RunFolder]:
    """Make the folder of one run under ``outputs``, with its log and its configuration; only the main process does.

    What the user can mend (MamError, the system's errors) or stopped leaves no folder behind; anything else leaves it
    with the traceback in its log.

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
    handler = logging.FileHandler(path / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        _write_hydra(path / ".hydra", job)
        yield RunFolder(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    except (MamError, OSError, KeyboardInterrupt):
        handler.close()
        _remove(path, existing)
        raise
    except BaseException:
        log.exception("the run did not finish")
        raise
    finally:
        root.removeHandler(handler)
        handler.close()


def run_root(outputs: str) -> Path:
    """Where a single run's folder goes: ``outputs/<date>``."""
    return expanded(outputs) / f"{datetime.now():%Y-%m-%d}"


def refuse_unwritable(outputs: Path) -> None:
    """Raise RecordError now rather than after the work, where ``outputs`` cannot be written."""
    existing = _existing(outputs.absolute())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RecordError(f"outputs={outputs}: {existing} cannot be written. Say outputs=FOLDER.")


def _existing(folder: Path) -> Path:
    """The folder itself or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def find_finished(outputs: Path, signature: str, run_hash: str) -> Path | None:
    """The newest finished run under ``outputs`` with this hash, or None. Broken results are passed over, and logged."""
    patterns = (f"*/*{signature}*/{RESULT}", f"*/*/*{signature}*/{RESULT}")
    for path in sorted((p for pattern in patterns for p in outputs.glob(pattern)), reverse=True):
        try:
            if read_result(path.parent)["hash"] == run_hash and all(
                (path.parent / n).is_file() for n in (PREDICTIONS, BASELINE)
            ):
                return path.parent
        except RecordError as error:
            log.warning("%s", error)
    return None


def find_ft(outputs: Path, key: str) -> Path | None:
    """The newest finished regular fine-tuning with this ``ft_key`` under ``outputs``, or None."""
    found = []
    for path in sorted((p for depth in ("*/*", "*/*/*") for p in outputs.glob(f"{depth}/{RESULT}")), reverse=True):
        try:
            result = read_result(path.parent)
        except RecordError as error:
            log.warning("%s", error)
            continue
        train = result["train"]
        if train and train["name"] == "finetune" and train["ft_key"] == key and not any(result["merge"]["lam"]):
            found.append(path.parent)
    return found[0] if found else None


def read_result(folder: Path) -> dict[str, Any]:
    """The result of a finished run.

    Raises:
        RecordError: not a finished run, broken JSON, or another schema.
    """
    path = folder / RESULT
    if not path.is_file():
        raise RecordError(f"{folder}: is not a finished run, it has no {RESULT}.")
    try:
        result = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise RecordError(f"{path}: cannot be read as JSON ({error}). Run it again with force=true.") from error
    validate(result, path)
    return result


def read_predictions(folder: Path, required: Sequence[str]) -> tuple[list[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Predictions of each draw and of the baseline of a finished run, each line with the texts ``required``.

    Raises:
        RecordError: a file is missing or broken.
    """
    sides = []
    names = [_of_draw(draw) for draw in range(int(read_result(folder)["merge"].get("draws", 1)))]
    for path in (folder / name for name in (*names, BASELINE)):
        try:
            rows = read_jsonl(path)
        except OSError as error:
            raise RecordError(f"{path}: {error.strerror}. Run it again with force=true.") from error
        for number, row in enumerate(rows, 1):
            wrong = [key for key in required if not isinstance(row.get(key), str)]
            if wrong:
                raise RecordError(
                    f"{path}, line {number}: {' and '.join(wrong)} must be text. Run it again with force=true."
                )
        sides.append(rows)
    return sides[:-1], sides[-1]


def _of_draw(draw: int) -> str:
    return PREDICTIONS if draw == 0 else f"predictions-{draw}.jsonl"


def validate(result: dict[str, Any], path: Path) -> None:
    """Raise RecordError where ``result`` is not what schema version 1 says; ``path`` is for the message."""
    if result.get("schema") != SCHEMA:
        raise RecordError(f"{path}: has schema {result.get('schema')!r}, this mam reads {SCHEMA}.")
    error = jsonschema.exceptions.best_match(_validator().iter_errors(result))
    if error is not None:
        raise RecordError(f"{path}: {error.json_path} is not as the schema says: {error.message}")
    if any(layer >= len(result["merge"]["lam"]) for layer in result["merge"]["layers"]):
        raise RecordError(f"{path}: $.merge.layers names a layer that $.merge.lam has no number for.")


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((Path(__file__).parent / "result.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def _remove(path: Path, existing: Path) -> None:
    """Take a run's folder away, and the folders above it that were made for it and hold nothing else."""
    shutil.rmtree(path, ignore_errors=True)
    for folder in path.parents:
        if folder == existing or any(folder.iterdir()):
            break
        folder.rmdir()


def _new_folder(outputs: Path, signature: str) -> Path:
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        for attempt in range(1000):
            suffix = f"-{attempt + 1}" if attempt else ""
            path = outputs / f"{datetime.now():%H-%M-%S}-{signature}{suffix}"
            try:
                path.mkdir()
            except FileExistsError:  # the same run was started in this second, by force=true or another job
                continue
            return path
    except OSError as error:
        raise RecordError(f"outputs={outputs}: cannot be written ({error.strerror}). Say outputs=FOLDER.") from error
    raise RecordError(f"outputs={outputs}: a thousand folders for {signature} in one second.")


def _write_hydra(folder: Path, job: Job) -> None:
    """``.hydra/`` as Hydra itself writes it."""
    with atomic(folder / "config.yaml") as file:
        file.write(OmegaConf.to_yaml(without_hydra(job.composed)))
    with atomic(folder / "hydra.yaml") as file:
        file.write(OmegaConf.to_yaml(OmegaConf.masked_copy(job.composed, "hydra")))
    with atomic(folder / "overrides.yaml") as file:
        file.write(OmegaConf.to_yaml(OmegaConf.create(list(job.overrides))))
