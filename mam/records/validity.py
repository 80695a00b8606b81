"""Checks on a `result.json`: its types, its numbers, and the names that this mam must know."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mam import small_files
from mam.errors import MamError, RecordError, choices
from mam.merging.tables import ALIGNMENTS, CONTROLS, METHODS
from mam.records.result import SCHEMA, RunResult
from mam.scoring.error_rate import ErrorRates
from mam.scoring.text import NORMALIZERS
from mam.scoring.wer import Rates

LARGEST = 2**63  # largest integer, for seeds; counts are bounded by their types to what a float can hold
EXACT = 1e-6  # largest relative difference of a rate from its own counts
AGAIN = "Run it again with force=true."


def read_text(path: Path, limit: int = small_files.LIMIT) -> str:
    """Return a file's text. Raises RecordError if it cannot be read, or has more bytes than the limit."""
    try:
        return small_files.read_text(path, limit)
    except MamError as error:
        raise RecordError(f"{error} {AGAIN}") from error


def parse_result(text: str, path: Path) -> RunResult:
    """Return the result in the text of a `result.json`.

    Raises:
        RecordError: it does not match schema version 1, or cannot have been written by a run.
    """
    try:
        plain = small_files.parse_json(text, path)
    except MamError as error:
        raise RecordError(f"{error} {AGAIN}") from error
    if not isinstance(plain, dict):
        raise RecordError(f"{path}: is not a JSON object. {AGAIN}")
    if plain.get("schema") != SCHEMA:
        raise RecordError(
            f"{path}: has schema version {plain.get('schema')!r}, but this version of mam reads {SCHEMA}."
        )
    for place, value in _numbers(plain, "$"):
        if not _is_number(value):
            raise RecordError(f"{path}: {place} is {str(value)[:40]}, which is not a valid number. {AGAIN}")
    try:
        result = _types().validate_json(text)
    except ValidationError as error:
        raise RecordError(f"{path}: {_first(error)}. {AGAIN}") from error
    misfit = next(_misfits(result), None)
    if misfit:
        raise RecordError(f"{path}: {misfit}. {AGAIN}")
    unknown = next(_unknown(result), None)
    if unknown:
        plugins = [plugin.name for plugin in result.extensions.plugins] if result.extensions else []
        owner = (
            f" Set plugins=[...] with {choices(plugins)}"
            if plugins
            else " It comes from a plug-in or from another version"
        )
        raise RecordError(f"{path}: {unknown}, which is not known here.{owner}.")
    return result


def schema() -> dict[str, Any]:
    """Return the JSON schema of a `result.json`."""
    generated = _types().json_schema(mode="validation")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"result.json of a mam run, schema version {SCHEMA}",
        "description": "Rates are fractions. A folder with this file is a finished run.",
    }
    return head | {key: value for key, value in generated.items() if key not in head}


@cache
def _types() -> TypeAdapter[RunResult]:
    return TypeAdapter(RunResult)


def _first(error: ValidationError) -> str:
    """Return the place and message of the first error."""
    first = error.errors(include_url=False)[0]
    place = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    return f"{place} does not match the schema: {first['msg'][:300]}"


def _is_number(value: int | float) -> bool:
    return abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value)


def _numbers(tree: Any, place: str) -> Iterator[tuple[str, int | float]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _numbers(value, f"{place}.{key}")
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        for number, value in enumerate(tree):
            yield from _numbers(value, f"{place}[{number}]")
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield place, tree


def _misfits(result: RunResult) -> Iterator[str]:
    """Yield contradictions between parts that are valid on their own."""
    depth = len(result.merge.lam)
    if any(layer >= depth for layer in result.merge.layers):
        yield "$.merge.layers has a layer for which $.merge.lam has no number"
    if any(len(one.lam) != depth for one in result.merge.by_source or ()):
        yield "$.merge.by_source must have one number per layer"
    if result.merge.by_source is not None and len(result.merge.by_source) != len(result.model.sources):
        yield "$.merge.by_source must have one entry for each of $.model.source and $.model.further"
    if result.train:
        lists = {f"folds[{number}].lam": fold.lam for number, fold in enumerate(result.train.folds)}
        lists["lam_at_start"] = result.train.lam_at_start
        yield from (
            f"$.train.{key} must have one number per layer" for key, lams in lists.items() if len(lams) != depth
        )
    if result.tune:
        for chosen in result.tune.chosen:
            if chosen.lams is not None and len(chosen.lams) != len(result.merge.lams_by_source):
                yield "$.tune.chosen must have one number per layer"
    yield from _misfit_rates(result.metrics, "$.metrics", result.task)
    yield from _misfit_rates(result.baseline, "$.baseline", result.task)
    for table in result.groups or ():
        if sum(group.n for group in table.groups) != result.data.n:
            yield f"$.groups by {table.by} do not add up to {result.data.n} examples"
    for key in ("ci95", "relative_ci95"):
        bounds = [bound for bound in getattr(result.delta, key) or () if bound is not None]
        if bounds != sorted(bounds):
            yield f"$.delta.{key} has its bounds in the wrong order"


def _misfit_rates(rates: Rates | ErrorRates, place: str, task: str) -> Iterator[str]:
    if isinstance(rates, Rates) != (task == "asr"):
        yield f"{place} has no {'wer' if task == 'asr' else 'error'}, the metric of task={task}"
    elif isinstance(rates, Rates):
        wrong = rates.substitutions + rates.deletions
        yield from _misfit_counts(place, "wer", rates.wer, wrong, rates.insertions, "words", rates.words)
    else:
        yield from _misfit_counts(place, "error", rates.error, rates.errors, 0, "clips", rates.clips)


def _misfit_counts(
    place: str, name: str, rate: float, wrong: int, inserted: int, unit: str, total: int
) -> Iterator[str]:
    if wrong > total:
        yield f"{place} has more errors than {unit}"
    errors = wrong + inserted
    if abs(rate - errors / total) > EXACT * max(1.0, errors / total):
        yield f"{place}.{name} is {rate:g}, but there are {errors} errors in {total} {unit}"


def _unknown(result: RunResult) -> Iterator[str]:
    merge, normalizer = result.merge, result.data.normalizer
    plugins = result.extensions.plugins if result.extensions else []
    if normalizer is not None and normalizer not in NORMALIZERS:  # texts cannot be compared without it
        yield f"has normalizer={normalizer}"
    if plugins:  # how a plug-in merged is only shown
        return
    if merge.method not in METHODS:
        yield f"has method={merge.method}"
    if merge.control not in CONTROLS:
        yield f"has control={merge.control}"
    if merge.align not in ALIGNMENTS:
        yield f"has align={merge.align}"
