"""The store behind the workbench: one resource per slot, freed when what it was computed with is replaced."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Slot:
    """The place of one kind of resource in the workbench; ``of`` is the split of data, or what is measured."""

    name: str
    of: str = ""

    def depends_on(self, other: Slot) -> bool:
        """Tell whether a resource here was computed with one there and holds memory for it: a prefix."""
        return self.name == "prefix" and (other.name == "pair" or other == Slot("audio", self.of))


class Slots:
    """Resources by slot, each with the key that it was made from."""

    def __init__(self) -> None:
        self._made: dict[Slot, tuple[Hashable, object]] = {}

    def once(self, slot: Slot, key: Hashable, make: Callable[[], T]) -> T:
        """Return the resource in ``slot`` if it was made from ``key``, or else make it."""
        if slot not in self._made or self._made[slot][0] != key:
            # Free the old one, and the states computed with it, before the new one is made.
            self.free(lambda other: other == slot or other.depends_on(slot))
            self._made[slot] = (key, make())
        return self._made[slot][1]  # type: ignore[return-value]  # a slot always holds what its one caller makes

    def key(self, slot: Slot) -> Hashable:
        """Return the key of the resource in ``slot``, which must have been made."""
        return self._made[slot][0]

    def free(self, is_chosen: Callable[[Slot], bool]) -> None:
        """Free the resources in the chosen slots."""
        for slot in filter(is_chosen, list(self._made)):
            del self._made[slot]
