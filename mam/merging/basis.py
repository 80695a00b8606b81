"""Maps from the source's coordinates to the target's, for the residual stream and the rows of heads. Pure functions.

Shapes: ``d_t`` and ``d_s`` are the widths of target and source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mam.merging.methods import Projection


@dataclass(frozen=True)
class LayerPair:
    """One target layer and its source layer: Q, K and V of both, fp32.

    ``heard`` is the mean of x_t x_sᵀ over common inputs, ``[d_t, d_s]``, fp64, if it was measured.
    """

    layer: int
    target: Mapping[str, Projection]
    source: Mapping[str, Projection]
    heard: Tensor | None = None


@dataclass(frozen=True)
class Heads:
    """The numbers of heads on both sides, and a seed for random maps."""

    target: int
    source: int
    seed: int = 0

    @property
    def common(self) -> int:
        """The number of corresponding blocks of rows: the heads if both sides have equally many, else 1."""
        return self.target if self.target == self.source else 1


@dataclass(frozen=True)
class Basis:
    """Linear maps, fp64; without a map or an entry, coordinates stay as they are.

    ``stream`` ``[d_t, d_s]`` maps the residual stream, which all layers read and write. ``rows`` maps the rows of a
    target layer's heads, ``[d_t, d_s]``: ``(layer, "qk")`` for Q and K, ``(layer, "v")`` for V, whose rows are the
    columns of O.
    """

    stream: Tensor | None = None
    rows: Mapping[tuple[int, str], Tensor] = field(default_factory=dict)

    @property
    def is_identity(self) -> bool:
        """True if nothing moves."""
        return self.stream is None and not self.rows

    def moved(self, layer: int, part: str, projection: Projection) -> Projection:
        """Convert weight and bias of the source to the target's coordinates, fp32."""
        weight, bias = projection
        rows = self.rows.get((layer, "qk" if part in "qk" else "v"))
        out, into = (self.stream, rows) if part == "o" else (rows, self.stream)
        new, new_bias = weight.double(), None if bias is None else bias.double()
        if out is not None:
            new, new_bias = out @ new, None if new_bias is None else out @ new_bias
        if into is not None:
            new = new @ into.T
        return new.to(weight.dtype), None if new_bias is None else new_bias.to(weight.dtype)

    def moved_moments(self, layer: int, part: str, moments: Tensor) -> Tensor:
        """Convert the mean of x xᵀ over inputs x of a projection to the target's coordinates, ``[d_t, d_t]``."""
        into = self.rows.get((layer, "v")) if part == "o" else self.stream
        return moments if into is None else into @ moments @ into.T

    def then(self, other: Basis) -> Basis:
        """Return this map followed by the other."""
        rows = dict(self.rows)
        for place, matrix in other.rows.items():
            rows[place] = matrix @ rows[place] if place in rows else matrix
        return Basis(_product(other.stream, self.stream), rows)


def moved(pairs: Sequence[LayerPair], basis: Basis) -> list[LayerPair]:
    """Return the pairs with their sources in the basis."""
    if basis.is_identity:
        return list(pairs)
    moved_pairs = []
    for pair in pairs:
        source = {part: basis.moved(pair.layer, part, projection) for part, projection in pair.source.items()}
        cross_moments = pair.heard if pair.heard is None or basis.stream is None else pair.heard @ basis.stream.T
        moved_pairs.append(LayerPair(pair.layer, pair.target, source, cross_moments))
    return moved_pairs


def cross(pairs: Sequence[LayerPair]) -> Tensor:
    """Return Σ W_tᵀ W_s over Q, K and V of all pairs, ``[d_t, d_s]``, fp64, to which a map of the stream is fitted."""
    terms = [pair.target[part][0].double().T @ pair.source[part][0].double() for pair in pairs for part in "qkv"]
    return torch.stack(terms).sum(0)


def nearest_isometry(matrix: Tensor) -> Tensor:
    """Return U Vᵀ of U Σ Vᵀ: the (semi-)orthogonal P ``[m, n]`` with the largest tr(Pᵀ matrix).

    Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31, 1966.
    """
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    isometry: Tensor = u @ vh
    return isometry


def _product(second: Tensor | None, first: Tensor | None) -> Tensor | None:
    if second is None or first is None:
        return first if second is None else second
    return second @ first
