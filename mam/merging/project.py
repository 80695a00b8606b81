"""Projection of sources with another width (``on_mismatch=project``) to the target's. Pure functions.

The residual stream is mapped by an isometry P ``[d_t, d_s]``: a narrower source fills a part of the target's stream,
and of a wider one a part is kept. Rows of heads are padded with zeros, or reduced to their strongest directions. This
is done head by head if both models have equally many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mam.merging.basis import Basis, Heads, LayerPair, cross, moved, nearest_isometry
from mam.merging.controls import Place, haar
from mam.merging.tables import PROJECTS, summary_of

Stream = Callable[[Sequence[LayerPair], Heads], Tensor]
STREAMS: dict[str, Stream] = {}  # the functions, by the names in PROJECTS


def project(function: Stream) -> Stream:
    """Register a function (pairs with fitted rows, heads) -> P ``[d_t, d_s]``, fp64, under its own name."""
    PROJECTS.setdefault(function.__name__, summary_of(function))
    STREAMS[function.__name__] = function
    return function


@project
def svd(pairs: Sequence[LayerPair], heads: Heads) -> Tensor:
    """Matches principal directions by their strength: P = E_t E_sᵀ, E the eigenvectors of Σ WᵀW over Q, K and V.

    Signs are arbitrary; the largest component of each direction is made positive.
    """
    sides = []
    for role in ("target", "source"):
        weights = [getattr(pair, role)[part][0].double() for pair in pairs for part in "qkv"]
        sides.append(_principal(torch.stack([weight.T @ weight for weight in weights]).sum(0)))
    rank = min(len(side) for side in sides)
    isometry: Tensor = sides[0][:, :rank] @ sides[1][:, :rank].T
    return isometry


@project
def procrustes(pairs: Sequence[LayerPair], heads: Heads) -> Tensor:
    """The isometry that maximises the inner product of the source's Q, K and V with the target's.

    For a source that is not wider, it also minimises Σ‖W_t - W_s Pᵀ‖, since the norm of W_s Pᵀ does not depend on P.
    """
    return nearest_isometry(cross(pairs))


@project
def random(pairs: Sequence[LayerPair], heads: Heads) -> Tensor:
    """A Haar-random isometry, which depends only on the seed."""
    target, source = (getattr(pairs[0], side)["q"][0].shape[1] for side in ("target", "source"))
    return haar(max(target, source), Place(heads.seed, 0), "project")[:target, :source]


def projected(pairs: Sequence[LayerPair], heads: Heads, name: str) -> Basis:
    """Return the basis for a source of another width, as chosen by ``project=name``."""
    width = len(pairs[0].target["q"][0])
    rows = {}
    for pair in pairs:
        for kind in ("qk", "v"):
            rows[pair.layer, kind] = _rows([pair.source[part][0] for part in kind], heads.common, width)
    fitted = Basis(rows=rows)
    return Basis(STREAMS[name](moved(pairs, fitted), heads), rows)


def _principal(gram: Tensor) -> Tensor:
    """Return the eigenvectors as columns, the strongest first; the largest component of each is positive."""
    vectors = torch.linalg.eigh(gram).eigenvectors.flip(1)
    signed: Tensor = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    return signed


def _rows(weights: Sequence[Tensor], heads: int, width: int) -> Tensor:
    """Return a map ``[width, d_s]`` of the rows of ``heads`` heads.

    It keeps the strongest directions of a head, or pads the head with zeros.
    """
    blocks = []
    for head in range(heads):
        rows = torch.cat([weight.double().chunk(heads)[head] for weight in weights], dim=1)  # [d_h, in]
        size, kept = len(rows), width // heads
        if size <= kept:
            blocks.append(torch.eye(kept, size, dtype=torch.float64))
        else:
            blocks.append(_principal(rows @ rows.T)[:, :kept].T)
    matrix: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return matrix
