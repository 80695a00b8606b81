"""The checkpoints that a merge is made of."""

from __future__ import annotations

from typing import NamedTuple

from mam.models.checkpoints import Checkpoint


class Parents(NamedTuple):
    """The target and the source of a merge, and their common ancestor for methods that need one."""

    target: Checkpoint
    source: Checkpoint
    base: Checkpoint | None = None

    @property
    def named(self) -> list[tuple[str, Checkpoint]]:
        """The checkpoints with their roles."""
        return [(role, checkpoint) for role, checkpoint in self._asdict().items() if checkpoint is not None]
