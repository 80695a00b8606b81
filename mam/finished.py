"""Finished runs: found by what they answer, read, and checked against the schema of `result.json`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mam.checks import problems
from mam.config import Config
from mam.errors import ConfigError, RecordError, first_line
from mam.files import read_jsonl
from mam.inputs import AUTO

RESULT, PREDICTIONS, BASELINE, LAMBDA = "result.json", "predictions.jsonl", "baseline.jsonl", "lambda.csv"
SCHEMA = 1

log = logging.getLogger("mam")


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
    names = [of_draw(draw) for draw in range(int(read_result(folder)["merge"].get("draws", 1)))]
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


def read_config(folder: Path, changes: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a run, with ``changes`` by key; what is None or auto in them stays as it was.

    Language, normalizer and metric are those that the run used, which its result says: not null and auto.

    Raises:
        RecordError: the file is missing or broken.
        ConfigError: a value that does not serve.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        composed = OmegaConf.merge(_schema(), OmegaConf.load(path))
        for key, value in [*_used(folder).items(), *(changes or {}).items()]:
            if value not in (None, AUTO):
                OmegaConf.update(composed, key, value)
        if composed.model.task == "events":  # runs from before auto wrote the default of speech recognition
            composed.data.normalizer = AUTO
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {first_line(error)}") from error
    except (OSError, ValueError, YAMLError) as error:
        raise RecordError(f"{path}: cannot be read ({first_line(error)}). Run it again with force=true.") from error
    assert isinstance(config, Config)
    found = problems(config)
    if found:
        raise ConfigError(found)
    return config


def _used(folder: Path) -> dict[str, Any]:
    """What a finished run used of what its configuration may leave open; runs that do not say so counted words."""
    result = read_result(folder) if (folder / RESULT).is_file() else {}
    if result.get("task") != "asr":
        return {}
    used = {key: result["data"].get(key) for key in ("language", "normalizer", "metric")}
    return {f"data.{key}": value for key, value in used.items()} | {"data.metric": used["metric"] or "wer"}


def of_draw(draw: int) -> str:
    """Name of the file with the predictions of a draw."""
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
def _schema() -> DictConfig:
    schema: DictConfig = OmegaConf.structured(Config)
    return schema


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((Path(__file__).parent / "result.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)
