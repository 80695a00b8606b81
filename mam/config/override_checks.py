"""Checks of a single word of a command line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Override, QuotedString, RangeSweep, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mam.config.nodes import has_key, keys_set
from mam.config.reference import comment_of
from mam.config.search import SearchPath
from mam.config.several import keys_of
from mam.errors import ConfigError, choices, first_line, meant, nearest

MOST_VALUES = 10_000  # of a key in a sweep or a study
SELECTIONS = "\n      topN, bottomN, middleN, or indices such as 0-5"
# Prefixes of user-defined keys, which may be added.
SECOND = "study.second."  # prefix of the keys of a second stage, which are those of the first
OF_THE_USER = (
    *("study.axes.", "study.arms.", "study.against.", "study.labels."),
    *(f"{SECOND}axes.", f"{SECOND}arms."),
)


def override_problem(
    override: Override, groups: dict[str, list[str]], search: SearchPath, base: DictConfig, multirun: bool
) -> str | None:
    """Return the problem of one override on its own, or None."""
    key, line = override.key_or_group, override.input_line or ""
    if key.startswith(("hydra.", "hydra/")):
        return (
            f"{line}: mam manages folders and logs itself; set outputs=FOLDER instead. The only Hydra keys it accepts"
            " are hydra/launcher=joblib|slurm, hydra.launcher.* and hydra/sweeper=optuna, with --multirun or a study"
        )
    if key == "plugins" and (override.is_sweep_override() or not isinstance(override.value(), list)):
        return f"{line}: plugins takes one list, the same for all runs. Set plugins=[./FILE.py,PACKAGE.MODULE]"
    if override.is_sweep_override() and not multirun:
        return f"{line}: several values need --multirun. Add it, or give one value"
    if override.is_delete() or (override.is_add() and not key.startswith(OF_THE_USER)):
        return f"{line}: keys cannot be added or deleted. Set an existing key (mam run --cfg job lists them)"
    try:
        too_many = too_many_values(line, _count(override.value()))
        if too_many:
            return too_many
        values = values_of(override)
    except (HydraException, ValueError, ZeroDivisionError, TypeError, OverflowError) as error:
        return f"{line}: not a valid list of values ({first_line(error)}). Separate values with commas"
    if any(map(_is_huge, values)):
        return f"{line}: numbers must lie within ±2^63"
    if key in groups:
        unknown = [value for value in values if value not in groups[key]]
        more = SELECTIONS if key == "layers" else ""
        return (
            f"{key}={unknown[0]}: not known.{meant(str(unknown[0]), groups[key])} Choose one of:"
            f"{_listed(key, groups[key], search)}{more}"
            if unknown
            else None
        )
    of_stage = f"study.{key.removeprefix(SECOND)}" if key.startswith(SECOND) else key
    stage = SECOND if key.startswith(SECOND) else "study."
    if of_stage == "study.axes":
        return f"{line}: axes are set one at a time. Set {stage}axes.KEY=[...]"
    if of_stage.startswith("study.axes."):
        if not isinstance(values[0], list) or not values[0]:
            return f"{line}: an axis must be a list of values. Set {stage}axes.KEY=[...]"
        too_many = too_many_values(key, len(values[0]))
        return too_many or _unknown_key(of_stage.removeprefix("study.axes."), groups, base)
    if of_stage.startswith("study.arms."):
        words = isinstance(values[0], list) and all(isinstance(word, str) and "=" in word for word in values[0])
        return None if words else f"{line}: an arm must be a list of overrides. Set 'study.arms.NAME=[\"KEY=VALUE\"]'"
    if key.startswith("study.against."):
        arms = isinstance(values[0], list) and all(isinstance(arm, str) for arm in values[0])
        return (
            None if arms else f"{line}: must be a list of the arms to compare with. Set 'study.against.NAME=[ARM,...]'"
        )
    if key.startswith("study.labels."):
        return None
    unknown_key = _unknown_key(key, groups, base)
    if unknown_key:
        return unknown_key
    for value in values:
        try:
            with keys_set(base, keys_of(key, value)):
                pass
        except OmegaConfBaseException as error:
            return f"{key}={value}: {first_line(error)}"
        except ConfigError as error:
            return str(error)
    return None


def _listed(group: str, names: Sequence[str], search: SearchPath) -> str:
    """Return the files of a group, one per line, each with its opening comment."""
    width = max(map(len, names))
    return "".join(f"\n      {name:<{width}}  {comment_of(group, name, search)}".rstrip() for name in names)


def _unknown_key(key: str, groups: dict[str, list[str]], base: DictConfig) -> str | None:
    if key in groups or has_key(base, key):
        return None
    known = [*groups, *_leaves(base)]
    near = nearest(key, known) or [name for name in known if "." not in name]
    return f"{key}: there is no such key. Did you mean: {choices(near)}? (mam run --cfg job lists all)"


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            yield from _leaves(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def too_many_values(place: str, count: int) -> str | None:
    """Return the problem of a key with more values than a sweep or a study takes, or None."""
    if count <= MOST_VALUES:
        return None
    return f"{place}: {count:,} values are too many. A key may have at most {MOST_VALUES:,}"


def _is_huge(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(map(_is_huge, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and abs(value) > 2**63


def _count(sweep: Any) -> int:
    """Return the number of values of a sweep before they are listed."""
    if not isinstance(sweep, RangeSweep):
        return len(getattr(sweep, "list", ()))
    if not sweep.step:
        raise ValueError("the step of a range must not be 0")
    start, stop, step = (float(number or 0) for number in (sweep.start, sweep.stop, sweep.step))
    return max(0, math.ceil((stop - start) / step))


def values_of(override: Override) -> list[Any]:
    """Return the value, or the values of a sweep, as Python objects."""
    if not override.is_sweep_override():
        return [override.value()]
    if override.value_type in (ValueType.GLOB_CHOICE_SWEEP, ValueType.INTERVAL_SWEEP):
        raise ValueError("glob and interval sweeps are not supported")
    return [v.text if isinstance(v, QuotedString) else v for v in override.sweep_iterator()]
