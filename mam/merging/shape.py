"""The shape of a Transformer, as far as a merge depends on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Depth, width and number of heads of a Transformer."""

    layers: int
    width: int
    heads: int

    def __str__(self) -> str:
        return f"{self.layers} layers × {self.width}, {self.heads} heads"

    @property
    def head_width(self) -> int:
        """The number of rows of Q, K and V per head."""
        return self.width // self.heads
