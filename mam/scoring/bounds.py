"""Bounded numbers, as types of fields that are checked when they are read from a file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

Rate = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0), Le(2**53)]  # exact as a float
Positive = Annotated[int, Ge(1), Le(2**53)]


@dataclass(frozen=True)
class OneOf:
    """The allowed values of a field: the names of a registry or tuple, and the values in ``also``."""

    names: Collection[str]
    also: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """True for a registry, to which plug-ins can add."""
        return isinstance(self.names, dict)

    def __contains__(self, value: object) -> bool:
        """Return whether the field may have the value."""
        return value in self.names or value in self.also
