"""Whether a `result.json` can be what a run wrote: its schema, its numbers, and the names that this mam must know."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from mam.errors import RecordError
from mam.merge.align import ALIGNMENTS
from mam.merge.controls import CONTROLS
from mam.merge.methods import METHODS
from mam.scoring.text import NORMALIZERS

SCHEMA = 1
LARGEST = 2**63  # of an integer: a seed; counts are bounded by the schema, to what a float can hold
EXACT = 1e-6  # how far a rate may be from its own counts
AGAIN = "Run it again with force=true."


def read_json(path: Path) -> Any:
    """A JSON file's content. Raises RecordError where it cannot be read, or has a number that is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path}: cannot be read as JSON ({error}). {AGAIN}") from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def validate(result: Mapping[str, Any], path: Path) -> None:
    """Raise RecordError where ``result`` is not what schema version 1 says; ``path`` is for the message."""
    if result.get("schema") != SCHEMA:
        raise RecordError(f"{path}: has schema {result.get('schema')!r}, this mam reads {SCHEMA}.")
    for place, value in _numbers(result, "$"):
        if not _is_number(value):
            raise RecordError(f"{path}: {place} is {str(value)[:40]}, which is no number that a run writes. {AGAIN}")
    error = jsonschema.exceptions.best_match(_validator().iter_errors(result))
    if error is not None:
        raise RecordError(f"{path}: {error.json_path} is not as the schema says: {error.message[:300]}. {AGAIN}")
    misfit = next(_misfits(result), None)
    if misfit:
        raise RecordError(f"{path}: {misfit}. {AGAIN}")
    unknown = next(_unknown(result), None)
    if unknown:
        raise RecordError(f"{path}: {unknown}, which this mam does not know: a plug-in's, or another version's.")


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


def _misfits(result: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together though each part is as the schema says."""
    merge, train = result["merge"], result["train"]
    depth = len(merge["lam"])
    if any(layer >= depth for layer in merge["layers"]):
        yield "$.merge.layers names a layer that $.merge.lam has no number for"
    if train:
        lists = {f"folds[{number}].lam": fold["lam"] for number, fold in enumerate(train["folds"])}
        lists["lam_at_start"] = train["lam_at_start"]
        yield from (f"$.train.{key} has not one number a layer" for key, lams in lists.items() if len(lams) != depth)
    for one in (result["tune"] or {}).get("chosen", []):
        if len(one.get("lams", merge["lam"])) != depth:
            yield "$.tune.chosen has not one number a layer"
    for side in ("metrics", "baseline"):
        yield from _misfit_rates(result[side], f"$.{side}", result["task"])
    for key in ("ci95", "relative_ci95"):
        ends = [end for end in result["delta"][key] or [] if end is not None]
        if ends != sorted(ends):
            yield f"$.delta.{key} ends before it begins"


def _misfit_rates(rates: Mapping[str, Any], place: str, task: str) -> Iterator[str]:
    metric, total = ("wer", "words") if task == "asr" else ("error", "clips")
    if metric not in rates:
        yield f"{place} has no {metric}, which task={task} is judged by"
        return
    parts = ("substitutions", "deletions", "insertions") if task == "asr" else ("errors",)
    errors, most = sum(rates[part] for part in parts), rates[total]
    if sum(rates[part] for part in parts if part != "insertions") > most:
        yield f"{place} counts more errors than {total}"
    if abs(rates[metric] - errors / most) > EXACT * max(1.0, errors / most):
        yield f"{place}.{metric} is {rates[metric]:g}, but it counts {errors} errors in {most} {total}"


def _unknown(result: Mapping[str, Any]) -> Iterator[str]:
    merge, normalizer = result["merge"], result["data"]["normalizer"]
    if merge["method"] not in METHODS:
        yield f"has method={merge['method']}"
    if merge["control"] not in CONTROLS:
        yield f"has control={merge['control']}"
    if merge.get("align", "none") not in ALIGNMENTS:
        yield f"has align={merge['align']}"
    if normalizer is not None and normalizer not in NORMALIZERS:
        yield f"has normalizer={normalizer}"


@cache
def _validator() -> jsonschema.Draft202012Validator:
    """Of the schema, in which 1.0 is no integer."""
    schema = json.loads((Path(__file__).parent / "result.schema.json").read_text(encoding="utf-8"))
    plain = jsonschema.Draft202012Validator
    types = plain.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    strict: Any = jsonschema.validators.extend  # untyped there
    validator: jsonschema.Draft202012Validator = strict(plain, type_checker=types)(schema)
    return validator
