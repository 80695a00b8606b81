"""Schedules: the λ_l of every target layer l of L, computed from lam or, by absolute schedules, set directly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mam.errors import ConfigError, MergeError, choices
from mam.merging.tables import summary_of
from mam.registry import refuse_bare, register


class Options(Protocol):
    """The fields of the configuration group ``schedule``."""

    start: float
    end: float
    values: list[float]
    alpha: float
    beta: float
    center: float
    width: float


ByLayer = Callable[[float, int, Options], Sequence[float]]


@dataclass(frozen=True)
class Schedule:
    """A registered schedule.

    Attributes:
        name: Its name.
        function: (lam, depth, options) -> λ of every target layer, before the selection is applied.
        reads: The options that it reads.
        is_absolute: Whether it sets λ itself and ignores ``lam``.
    """

    name: str
    function: ByLayer
    reads: tuple[str, ...] = ()
    is_absolute: bool = False

    @property
    def summary(self) -> str:
        """One line for display."""
        return summary_of(self.function)

    def __call__(self, lam: float, depth: int, options: Options) -> list[float]:
        """Return λ of every target layer; raises MergeError unless it is ``depth`` numbers from 0 to 1."""
        given = self.function(lam, depth, options)
        lams = list(given) if isinstance(given, list | tuple) else []
        if len(lams) != depth or not all(isinstance(value, int | float) and 0 <= value <= 1 for value in lams):
            shown = f"{lams[:8]}" if lams else f"{given!r}"[:80]
            raise MergeError(
                f"schedule={self.name}: returns {shown}. It must return {depth} numbers from 0 to 1, one per layer"
            )
        return lams


SCHEDULES: dict[str, Schedule] = {}


def schedule(name: str, reads: Sequence[str] = (), is_absolute: bool = False) -> Callable[[ByLayer], ByLayer]:
    """Register a function (lam, depth, options) -> λ of every target layer, before the selection is applied.

    ``reads`` names the options of the group ``schedule`` that it reads. With ``is_absolute``, it does not read ``lam``.
    """

    refuse_bare("schedule", name)
    unknown = [option for option in reads if option not in Options.__annotations__]
    if unknown:
        raise ConfigError(
            f"schedule={name}: {choices(unknown)} in reads= are not options. Choose from:"
            f" {choices(list(Options.__annotations__))}"
        )

    def add(function: ByLayer) -> ByLayer:
        entry = Schedule(name, function, tuple(reads), is_absolute)
        register("schedule", name, function, (SCHEDULES, entry), takes="lam, depth, options")
        return function

    return add


@schedule("constant")
def constant(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = lam."""
    return [lam] * depth


@schedule("linear", reads=("start", "end"))
def linear(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = lam · (start + (end - start) · l / (L - 1)); with a single layer, lam · end.

    Raises:
        MergeError: ``start`` or ``end`` is outside [0, 1].
    """
    for name, value in (("start", options.start), ("end", options.end)):
        if not 0 <= value <= 1:
            raise MergeError(f"schedule.{name}={value}: must be a number from 0 to 1")
    if depth == 1:
        return [lam * options.end]
    return [lam * (options.start + (options.end - options.start) * layer / (depth - 1)) for layer in range(depth)]


@schedule("power", reads=("alpha", "beta"))
def power(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = lam^α_l, α_l = alpha + beta · l / (L - 1): with beta > 0, λ decreases towards the output.

    Raises:
        MergeError: An exponent is not above 0.
    """
    exponents = _line(options, depth)
    if min(exponents) <= 0:
        raise MergeError(
            "schedule=power: all exponents alpha + beta·l/(L-1) must be above 0, but the smallest is"
            f" {min(exponents):g}"
        )
    return [lam**exponent for exponent in exponents]


@schedule("lines", reads=("alpha", "beta"), is_absolute=True)
def lines(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = alpha + beta · l / (L - 1), whatever ``lam`` is.

    Raises:
        MergeError: A λ is outside [0, 1].
    """
    lams = _line(options, depth)
    wrong = [f"{value:g} in layer {layer}" for layer, value in enumerate(lams) if not 0 <= value <= 1]
    if wrong:
        raise MergeError(f"schedule=lines: λ must be from 0 to 1, but alpha and beta give {', '.join(wrong[:4])}")
    return lams


@schedule("gaussian", reads=("center", "width"))
def gaussian(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = lam · exp(-(l - center)² / (2 width²)), with center and width in layers.

    Raises:
        MergeError: The width is not above 0, or the center is outside the target.
    """
    if not options.width > 0:
        raise MergeError(f"schedule.width={options.width}: must be above 0, in layers")
    if not 0 <= options.center <= depth - 1:
        raise MergeError(f"schedule.center={options.center}: must be a layer of the target, from 0 to {depth - 1}")
    return [lam * math.exp(-((layer - options.center) ** 2) / (2 * options.width**2)) for layer in range(depth)]


@schedule("list", reads=("values",), is_absolute=True)
def explicit_list(lam: float, depth: int, options: Options) -> list[float]:
    """λ_l = values[l], whatever ``lam`` is.

    Raises:
        MergeError: There is not one value per target layer, or a value is outside [0, 1].
    """
    if len(options.values) != depth:
        raise MergeError(
            f"schedule.values: has {len(options.values)} numbers, but the target has {depth} layers."
            " Give one per layer, e.g. 'schedule.values=[0,0.05,0.1,0.1]'"
        )
    wrong = [value for value in options.values if not 0 <= value <= 1]
    if wrong:
        raise MergeError(f"schedule.values: all values must be from 0 to 1, but there is {', '.join(map(str, wrong))}")
    return list(options.values)


def _line(options: Options, depth: int) -> list[float]:
    return [options.alpha + options.beta * layer / max(1, depth - 1) for layer in range(depth)]
