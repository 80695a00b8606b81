"""The checkpoints that a merge is made of."""

from __future__ import annotations

from typing import NamedTuple

from mam.merging.several import by_role
from mam.models.checkpoints import Checkpoint


class Parents(NamedTuple):
    """The target and the source of a merge, and their common ancestor for methods that need one.

    ``further`` has the second source and those after it.
    """

    target: Checkpoint
    source: Checkpoint
    base: Checkpoint | None = None
    further: tuple[Checkpoint, ...] = ()

    @property
    def sources(self) -> tuple[Checkpoint, ...]:
        """The source, or all of several."""
        return self.source, *self.further

    @property
    def named(self) -> list[tuple[str, Checkpoint]]:
        """The checkpoints with their roles, as in `by_role`."""
        return list(by_role(self.target, self.sources, self.base).items())
