"""Numbers within bounds, as the types of fields that are checked where they are read from a file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

Rate = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0), Le(2**53)]  # which a float holds exactly
Positive = Annotated[int, Ge(1), Le(2**53)]


@dataclass(frozen=True)
class OneOf:
    """The values that a field may have: the names of a registry or of a tuple, and some ``also``."""

    names: Collection[str]
    also: tuple[str, ...] = ()

    def __contains__(self, value: object) -> bool:
        """Whether a field may have the value."""
        return value in self.names or value in self.also
