"""The checkpoints that a merge is made of."""

from __future__ import annotations

from typing import NamedTuple

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
        """The checkpoints with their roles; the second source is ``source 2``."""
        roles = [("target", self.target), ("source", self.source)]
        roles += [(f"source {number}", checkpoint) for number, checkpoint in enumerate(self.further, 2)]
        return roles if self.base is None else [*roles, ("base", self.base)]
