"""Reading finished runs: found by the question they answer, with damaged or unknown ones refused by name."""

from __future__ import annotations

import copy
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from mam.config.data import AUTO
from mam.config.schema import Config
from mam.errors import MamError, RecordError
from mam.merging.tables import ALIGNMENTS, CONTROLS, METHODS
from mam.records.recorded import changed, recorded
from mam.records.result import RunResult
from mam.records.validity import AGAIN, parse_result, read_text
from mam.registry import foreign
from mam.scoring.text import NORMALIZERS
from mam.small_files import MB, read_jsonl

RESULT, PREDICTIONS, BASELINE, LAMBDA = "result.json", "predictions.jsonl", "baseline.jsonl", "lambda.csv"
TRUTH = {"asr": "reference", "events": "label"}  # column that a prediction is compared with
METRICS, LOG, CONFIG = "metrics.jsonl", "mam.log", Path(".hydra") / "config.yaml"
SURROGATE = re.compile("[\ud800-\udfff]")

PredictionRow = dict[str, Any]  # one line of predictions.jsonl

log = logging.getLogger("mam")


def find_finished(outputs: Path, signature: str, run_hash: str) -> Path | None:
    """Return the newest finished run under ``outputs`` with this hash, or None. Broken ones are logged."""
    for folder in _newest(outputs, f"*{signature}*"):
        with _logging_broken():
            if read_result(folder).hash == run_hash:
                read_predictions(folder)
                return folder
    return None


def find_ft(outputs: Path, key: str) -> Path | None:
    """Return the newest finished regular fine-tuning with this ``ft_key``, or None. Broken ones are logged."""
    for folder in _newest(outputs, "*"):
        with _logging_broken():
            result = read_result(folder)
            train = result.train
            if train and train.name == "finetune" and train.ft_key == key and result.merge.is_identity:
                read_predictions(folder)
                read_metrics(folder)
                return folder
    return None


def _newest(outputs: Path, name: str) -> list[Path]:
    """Return run folders of this name, alone or in a study, the newest first."""
    paths = [path for pattern in (f"*/{name}/{RESULT}", f"*/*/{name}/{RESULT}") for path in outputs.glob(pattern)]
    return [path.parent for path in sorted(paths, reverse=True)]


@contextmanager
def _logging_broken() -> Iterator[None]:
    """Log a run that cannot be read, and continue."""
    try:
        yield
    except RecordError as error:
        log.warning("%s", error)


def read_result(folder: Path) -> RunResult:
    """Return the result of a finished run.

    Raises:
        RecordError: not a finished run, broken JSON, another schema, impossible numbers, or an unknown name.
    """
    path = folder / RESULT
    if not path.is_file():
        raise RecordError(f"{folder}: is not a finished run (it has no {RESULT}).")
    status = path.stat()
    names = (
        *METHODS,
        *CONTROLS,
        *ALIGNMENTS,
        *NORMALIZERS,
    )  # a name that a plug-in registered is valid as long as it is
    return _parsed(path, (status.st_size, status.st_mtime_ns, status.st_ino), names)


@lru_cache(maxsize=256)
def _parsed(path: Path, version: tuple[int, ...], names: tuple[str, ...]) -> RunResult:
    """Read a result once as long as its file is not written again; several readers of a run ask for it."""
    return parse_result(read_text(path), path)


def read_predictions(folder: Path) -> tuple[list[list[PredictionRow]], list[PredictionRow]]:
    """Return the predictions of each draw and of the baseline of a finished run.

    All of them have the same examples in the same order, as many as the result states, each once.

    Raises:
        RecordError: a file is missing or broken, or they do not belong together. The message names file and line.
    """
    result, config = read_result(folder), read_config(folder)
    if config.model.task != result.task:
        raise RecordError(f"{folder}: {CONFIG} has task {config.model.task}, but {RESULT} has {result.task}. {AGAIN}")
    truth = ["id", TRUTH[result.task], *([] if config.data.clusters == "utterance" else ["cluster"])]
    names = [of_draw(draw) for draw in range(result.merge.draws)]
    *draws, baseline = (_lines(folder / name, [*truth, "prediction"]) for name in (*names, BASELINE))
    for name, rows in zip((*names, BASELINE), (*draws, baseline), strict=True):
        if len(rows) != result.data.n:
            raise RecordError(
                f"{folder}: {name} has {len(rows)} lines, but {RESULT} has {result.data.n} examples. {AGAIN}"
            )
    _refuse_without_groups(folder / PREDICTIONS, draws[0], config.evaluate.by)
    for name, rows in zip(names, draws, strict=True):
        for number, (row, other) in enumerate(zip(rows, baseline, strict=True), 1):
            if any(row[key] != other[key] for key in truth):
                raise RecordError(
                    f"{folder}: {name} and {BASELINE} have different examples or references in line {number}"
                    f" ({row['id']!r} and {other['id']!r}). {AGAIN}"
                )
    return draws, baseline


def _refuse_without_groups(path: Path, rows: Sequence[PredictionRow], columns: Sequence[str]) -> None:
    """Raise RecordError if a prediction lacks a column of evaluate.by, or has something else there than a value."""
    for number, row in enumerate(rows, 1):
        for name in columns:
            value = row.get(name)
            is_value = value is None or _is_text(value) or (isinstance(value, int) and not isinstance(value, bool))
            if name not in row or not is_value:
                raise RecordError(f"{path}, line {number}: has no {name}, which evaluate.by needs. {AGAIN}")


def _lines(path: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the lines of one file, each about a different example."""
    rows = _jsonl(path)
    first: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        wrong = [key for key in texts if not _is_text(row.get(key))]
        if wrong:
            raise RecordError(f"{path}, line {number}: {' and '.join(wrong)} must be text. {AGAIN}")
        if row["id"] in first:
            raise RecordError(f"{path}, line {number}: {row['id']!r} also occurs in line {first[row['id']]}. {AGAIN}")
        first[row["id"]] = number
    return rows


def _jsonl(path: Path) -> list[dict[str, Any]]:
    try:
        return read_jsonl(path)
    except MamError as error:
        raise RecordError(f"{error} {AGAIN}") from error


def _is_text(value: object) -> bool:
    """Return whether the value is text without surrogates, which no report could be written with."""
    return isinstance(value, str) and SURROGATE.search(value) is None


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the logs of a training, in order. Raises RecordError if they are missing or broken."""
    path = folder / METRICS
    rows = _jsonl(path)
    for number, row in enumerate(rows, 1):
        values = [value for key, value in row.items() if key != "fold"]
        fold = row.get("fold", "")
        if not isinstance(row.get("step"), int) or not isinstance(fold, str) or not all(map(_is_finite, values)):
            raise RecordError(f"{path}, line {number}: does not come from a training. {AGAIN}")
    return rows


def _is_finite(value: object) -> bool:
    """Return whether the value is a number, or None: a norm of the gradient at a step that overflowed in float16."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def read_config(folder: Path, changes: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of a run, with ``changes`` by key. Changes that are None or auto are ignored.

    Language, normalizer and metric are the ones that the run used according to its result, not null and auto.

    Raises:
        RecordError: the file is missing or broken, or has a key or a value that this mam does not know.
        ConfigError: an invalid change.
    """
    path = folder / CONFIG
    result = read_result(folder) if (folder / RESULT).is_file() else None
    text = read_text(path, MB)
    has_plugins = result is not None and result.extensions is not None and bool(result.extensions.plugins)
    registered = tuple((entry.kind, entry.name) for entry in foreign())  # what is valid depends on it
    config = copy.deepcopy(recorded(path, text, tuple(_used(result).items()), has_plugins, registered))
    overrides = {key: value for key, value in (changes or {}).items() if value not in (None, AUTO)}
    return changed(config, overrides) if overrides else config


def _used(result: RunResult | None) -> dict[str, Any]:
    """Return the values that a finished run used for settings that its configuration may leave open."""
    if result is None or result.task != "asr":
        return {}
    data = result.data
    return {"data.language": data.language, "data.normalizer": data.normalizer, "data.metric": result.metric}


def of_draw(draw: int) -> str:
    """Return the name of the file with the predictions of a draw."""
    return PREDICTIONS if draw == 0 else f"predictions-{draw}.jsonl"
