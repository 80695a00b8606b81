"""Alignment (``align=``): the source is moved into the target's basis before it is merged. Pure functions.

Neither the order of heads nor the basis of the residual stream is unique, so two models that compute the same function
need not share a single weight. Each alignment moves the source by a map that preserves the function of its attention
(orthogonal on the stream, a permutation of heads and within heads). All layers share the map of the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mam.merging.basis import Basis, Heads, LayerPair, cross, moved, nearest_isometry
from mam.merging.fits import alignment
from mam.merging.methods import Projection

SWEEPS = 50  # upper bound for `permute`, which converges much earlier


def spectral_distance(pair: LayerPair, heads: Heads) -> float:
    """Return the Frobenius norm of the difference of the heads' `spectra`, head by head."""
    ours, theirs = (spectra(side, heads.target) for side in (pair.target, pair.source))
    return float(((ours - theirs) ** 2).sum() ** 0.5)


@alignment()
def none(pairs: Sequence[LayerPair], heads: Heads) -> Basis:
    """No alignment."""
    return Basis()


@alignment(distance=spectral_distance)
def heads(pairs: Sequence[LayerPair], heads: Heads) -> Basis:
    """Reorders the heads of each layer to match the spectra of the target's heads (Hungarian assignment).

    A head's spectrum consists of the singular values of its W_QᵀW_K and of its W_V, each divided by the norm over all
    heads of the layer.
    """
    rows: dict[tuple[int, str], Tensor] = {}
    for pair in pairs:
        ours, theirs = (spectra(side, heads.target) for side in (pair.target, pair.source))
        order = _matching(-_distances(ours, theirs))
        matrix = _head_blocks(order.tolist(), len(pair.target["q"][0]))
        rows |= {(pair.layer, "qk"): matrix, (pair.layer, "v"): matrix}
    return Basis(rows=rows)


@alignment()
def procrustes(pairs: Sequence[LayerPair], heads: Heads) -> Basis:
    """One orthogonal R for the hidden states that minimises Σ‖W_t - W_s R‖² over paired Q, K and V (closed form).

    R = U Vᵀ of Σ W_sᵀ W_t = U Σ Vᵀ (Schönemann 1966).
    """
    return Basis(stream=nearest_isometry(cross(pairs)))


@alignment()
def procrustes_activations(pairs: Sequence[LayerPair], heads: Heads) -> Basis:
    """One orthogonal R that minimises Σ‖X_t - X_s R‖² over the inputs of all paired layers, on the same recordings.

    R = U Vᵀ of Σ X_sᵀ X_t = U Σ Vᵀ. Both models must take the same input, frame by frame.
    """
    products = [pair.heard for pair in pairs if pair.heard is not None]
    return Basis(stream=nearest_isometry(torch.stack(products).sum(0)))


@alignment(needs_heads=True, needs_output=True)
def rotate_heads(pairs: Sequence[LayerPair], heads: Heads) -> Basis:
    """Rotates within each head: R = U Vᵀ from the SVD of W_Qt W_Qsᵀ + W_Kt W_Ksᵀ; a second R for V and O.

    Q and K of a head may be rotated together, and V with the columns of O against it, without a change of what the head
    computes. Each R minimises the distance to the target's head of the same number, in closed form: ‖W_Qt - R W_Qs‖² +
    ‖W_Kt - R W_Ks‖². "Beyond the permutation symmetry of transformers: the role of rotation for model fusion", ICML
    2025, arXiv 2502.00264; biases follow and are not fitted. Sources with rotary positions do not have this symmetry.
    """
    rows: dict[tuple[int, str], Tensor] = {}
    for pair in pairs:
        sides = [_head_rows(side, heads.target) for side in (pair.target, pair.source)]
        for kind in ("qk", "v"):
            ours, theirs = (side[kind] for side in sides)
            turns = [nearest_isometry(own @ other.T) for own, other in zip(ours, theirs, strict=True)]
            rows[pair.layer, kind] = torch.block_diag(*turns)  # type: ignore[no-untyped-call]
    return Basis(rows=rows)


@alignment()
def permute(pairs: Sequence[LayerPair], heads: Heads) -> Basis:
    """Permutations of hidden dimensions, of heads and within heads that maximise Σ⟨W_t, W_s⟩.

    Weight matching by coordinate descent (Ainsworth et al., "Git Re-Basin", ICLR 2023, algorithm 1): the stream with
    heads fixed, then every layer's heads with the stream fixed. Each step is an assignment problem, and they alternate
    until nothing improves. If the numbers of heads differ, only the stream is permuted.
    """
    basis, best_total = Basis(), -float("inf")
    for _ in range(SWEEPS):
        scores = cross(moved(pairs, Basis(rows=basis.rows)))
        order = _matching(scores.numpy())
        stream = torch.eye(len(order), dtype=torch.float64)[order]
        rows = _matched_rows(moved(pairs, Basis(stream)), heads) if heads.target == heads.source else {}
        total = float((cross(moved(pairs, Basis(rows=rows))) * stream).sum())
        if total <= best_total + 1e-9 * abs(best_total):
            break
        basis, best_total = Basis(stream, rows), total
    return basis


def spectra(side: Mapping[str, Projection], count: int) -> NDArray[np.float64]:
    """Return the singular values of each head's W_QᵀW_K and W_V, ``[h, 2 d_h]``.

    Each of the two is divided by its norm over all heads of the layer.
    """
    q, k, v = (side[part][0].double().chunk(count) for part in "qkv")
    by_head = []
    for i in range(count):
        # The singular values of QᵀK are those of R_q R_kᵀ, from QR of both.
        upper_q, upper_k = torch.linalg.qr(q[i].T).R, torch.linalg.qr(k[i].T).R
        by_head.append((torch.linalg.svdvals(upper_q @ upper_k.T), torch.linalg.svdvals(v[i])))
    columns = [torch.stack(values) for values in zip(*by_head, strict=True)]
    joined: NDArray[np.float64] = torch.cat([column / column.norm().clamp_min(1e-30) for column in columns], 1).numpy()
    return joined


def _matching(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each row the column that it is paired with, at the largest sum of ``scores`` (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment  # imported here: takes long, and few alignments need it

    columns: NDArray[np.int64] = linear_sum_assignment(scores, maximize=True)[1]
    return columns


def _distances(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = ((ours[:, None] - theirs[None]) ** 2).sum(-1)
    return distances


def _head_blocks(order: Sequence[int], width: int) -> Tensor:
    """Return the permutation of rows that moves head ``order[i]`` to the place of head i."""
    size = width // len(order)
    rows = [head * size + row for head in order for row in range(size)]
    return torch.eye(width, dtype=torch.float64)[rows]


def _matched_rows(pairs: Sequence[LayerPair], heads: Heads) -> dict[tuple[int, str], Tensor]:
    """Return the permutation of heads, and of rows within heads, with the largest inner product, for every layer.

    Q and K share a permutation, and V follows the same order of heads, so that every head computes the same as before.
    """
    permutations = {}
    for pair in pairs:
        width, count = len(pair.target["q"][0]), heads.common
        size = width // count
        inner = {
            kind: sum(pair.target[part][0].double() @ pair.source[part][0].double().T for part in kind)
            for kind in ("qk", "v")
        }
        within = np.empty((2, count, count, size), dtype=int)
        scores = np.zeros((count, count))
        for number, matrix in enumerate(inner.values()):
            blocks = matrix.view(count, size, count, size).permute(0, 2, 1, 3).numpy()  # type: ignore[union-attr]
            for i in range(count):
                for j in range(count):
                    order = _matching(blocks[i, j])
                    within[number, i, j] = order
                    scores[i, j] += blocks[i, j][range(size), order].sum()
        partner = _matching(scores)
        for number, kind in enumerate(inner):
            rows = [partner[i] * size + row for i in range(count) for row in within[number, i, partner[i]]]
            permutations[pair.layer, kind] = torch.eye(width, dtype=torch.float64)[rows]
    return permutations


def _head_rows(side: Mapping[str, Projection], count: int) -> dict[str, list[Tensor]]:
    """Return what a rotation of each head turns, ``[d_h, 2 d]``, fp64: Q beside K, and V beside O transposed."""
    q, k, v, o = (side[part][0].double() for part in "qkvo")
    stacked = {"qk": torch.cat([q, k], 1), "v": torch.cat([v, o.T], 1)}
    return {kind: list(matrix.chunk(count)) for kind, matrix in stacked.items()}
