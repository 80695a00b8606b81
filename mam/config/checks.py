"""Checks of a configuration that need neither models nor data; all problems are reported together.

This module does not import torch, so an invalid configuration is reported in a fraction of a second.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from mam.config.data import data_problems
from mam.config.evaluation import evaluation_problems
from mam.config.merging import merging_problems
from mam.config.model import model_problems
from mam.config.reference import line_about
from mam.config.schema import Config
from mam.config.study import study_problems
from mam.config.training import missing_trackers, training_problems
from mam.config.tuning import tuning_problems
from mam.errors import choices, meant, shortened
from mam.scoring.bounds import OneOf

LARGEST = 1e300  # larger than any bound
COMPARED: dict[type, Callable[[Any, Any], bool]] = {
    Ge: operator.ge,
    Gt: operator.gt,
    Le: operator.le,
    Lt: operator.lt,
}


def problems(config: Config, has_plugins: bool = False) -> list[str]:
    """Return all problems of a configuration, one sentence each; empty if it is valid.

    With ``has_plugins`` names of methods and the like may be those of plug-ins that are not loaded here.
    """
    config = copy.deepcopy(config)
    found = list(_field_problems(config))
    messages = [message for message, is_name in found if not (has_plugins and is_name)]
    if len(messages) < len(found):  # options that go with an unknown choice cannot be judged
        return messages
    for check in (
        model_problems,
        data_problems,
        evaluation_problems,
        training_problems,
        tuning_problems,
        study_problems,
        merging_problems,
    ):
        messages += check(config)
    messages += missing_trackers("track", config.track)
    return list(dict.fromkeys(messages))


def _field_problems(config: Any, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield a problem for every field outside the bounds in its annotation, and reset the field to its default.

    Later checks of combinations can then assume valid values. Each problem comes with whether it is an unknown name in
    a registry, to which plug-ins can add.
    """
    for name, bounds in _bounds(config.__class__).items():
        value = getattr(config, name)
        container = _containers(config.__class__)[name]
        if is_dataclass(value):
            yield from _field_problems(value, f"{prefix}{name}.")
        elif container is not None and not isinstance(value, (container, type(None))):
            # OmegaConf does not compare what an interpolation gives with the type of the field.
            what = "a list" if container is list else "a mapping of names to values"
            yield f"{prefix}{name}={shortened(value)}: must be {what}", False
            setattr(config, name, container())
        elif value is not None:
            messages = list(_outside(f"{prefix}{name}", value, bounds))
            if messages:
                setattr(config, name, getattr(type(config), name))
            is_name = any(isinstance(bound, OneOf) and bound.is_open for bound in bounds)
            yield from ((message, is_name) for message in messages)


@cache
def _bounds(kind: Any) -> dict[str, tuple[Any, ...]]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: getattr(hints[field.name], "__metadata__", ()) for field in fields(kind)}


@cache
def _containers(kind: Any) -> dict[str, type | None]:
    """Return list or dict for the fields that hold one, and None for the others."""
    hints = get_type_hints(kind)

    def container(hint: Any) -> type | None:
        kinds: Sequence[Any] = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        origins: list[Any] = [get_origin(kind) for kind in kinds]
        return next((origin for origin in origins if origin in (list, dict)), None)

    return {field.name: container(hints[field.name]) for field in fields(kind)}


def _outside(key: str, value: Any, bounds: tuple[Any, ...]) -> Iterator[str]:
    for bound in bounds:
        if isinstance(bound, OneOf) and value not in bound:
            near = meant(str(value), [*bound.names, *bound.also])
            yield f"{key}={value}: not known.{near} Choose one of:{_listed(bound)}"
    if isinstance(value, int | float) and bounds and not _is_within(value, bounds):
        yield f"{key}={value}: must be {_range_text(bounds)}"


def _is_within(value: float, bounds: tuple[Any, ...]) -> bool:
    if abs(value) > LARGEST or not math.isfinite(value):  # a larger integer is no float either
        return False
    return all(COMPARED[type(bound)](value, astuple(bound)[0]) for bound in bounds if type(bound) in COMPARED)


def _range_text(bounds: tuple[Any, ...]) -> str:
    """Return a range as text: ``from 1 to 1 024``, or ``above 0 and below 1`` if the ends are excluded."""
    low = next((bound for bound in bounds if isinstance(bound, Ge | Gt)), None)
    high = next((bound for bound in bounds if isinstance(bound, Le | Lt)), None)
    if isinstance(low, Ge) and isinstance(high, Le):
        return f"from {_number(low.ge)} to {_number(high.le)}"
    texts = []
    if low is not None:
        texts.append(f"{_number(low.ge)} or more" if isinstance(low, Ge) else f"above {_number(low.gt)}")
    if high is not None:
        texts.append(f"{_number(high.le)} or less" if isinstance(high, Le) else f"below {_number(high.lt)}")
    return " and ".join(texts) or "a finite number"


def _number(value: Any) -> str:
    return f"{value:,}".replace(",", " ")


def _listed(bound: OneOf) -> str:
    """Return the names in one line, or one per line if they have descriptions."""
    names = bound.names
    if not isinstance(names, Mapping):
        return f" {choices([*names, *bound.also])}"
    width = max(map(len, names))
    lines = [f"\n      {name:<{width}}  {line_about(entry)}" for name, entry in names.items()]
    return "".join(f"\n      {name}" for name in bound.also) + "".join(lines)
