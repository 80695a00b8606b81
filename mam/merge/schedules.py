"""How λ depends on depth: λ_l = lam · s_l, with s_l in [0, 1] given by the schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mam.errors import MergeError


class Options(Protocol):
    """The fields of the configuration group ``schedule``."""

    start: float
    end: float
    values: list[float]


Schedule = Callable[[float, int, Options], list[float]]
SCHEDULES: dict[str, Schedule] = {}


def schedule(name: str) -> Callable[[Schedule], Schedule]:
    """Register a function (lam, depth, options) -> λ of every target layer, before the selection is applied."""

    def register(function: Schedule) -> Schedule:
        SCHEDULES[name] = function
        return function

    return register


@schedule("constant")
def constant(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = lam."""
    return [lam] * depth


@schedule("linear")
def linear(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = lam · (start + (end - start) · l / (L - 1)); a single layer takes ``end``.

    Raises:
        MergeError: ``start`` or ``end`` is outside [0, 1].
    """
    for name, value in (("start", options.start), ("end", options.end)):
        if not 0 <= value <= 1:
            raise MergeError(f"schedule.{name}={value}: must be a number from 0 to 1")
    if depth == 1:
        return [lam * options.end]
    return [lam * (options.start + (options.end - options.start) * layer / (depth - 1)) for layer in range(depth)]


@schedule("list")
def explicit_list(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = lam · values[l]; ``schedule=list`` sets lam to 1, so that the values are the λ themselves.

    Raises:
        MergeError: not one value a target layer, or a value outside [0, 1].
    """
    if len(options.values) != depth:
        raise MergeError(
            f"schedule.values has {len(options.values)} numbers, but the target has {depth} layers:"
            " give one a layer, e.g. 'schedule.values=[0,0.05,0.1,0.1]'"
        )
    wrong = [value for value in options.values if not 0 <= value <= 1]
    if wrong:
        raise MergeError(f"schedule.values: {', '.join(map(str, wrong))} outside 0 to 1")
    return [lam * value for value in options.values]
