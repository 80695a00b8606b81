"""Alignment by optimal transport (``align=ot``): soft assignments of the source's neurons to the target's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mam.errors import MergeError
from mam.merging.basis import Basis, Heads, LayerPair, cross, moved
from mam.merging.fits import alignment

SOFTNESS = 0.05  # weight of the entropy, as a share of the standard deviation of the costs
ROUNDS = 10  # of Sinkhorn's algorithm at each weight
STEPS = 50  # upper bound for Newton's method, which needs far fewer
PRECISION = 1e-9  # of the sums of rows and columns


@alignment()
def ot(pairs: Sequence[LayerPair], heads: Heads) -> Basis:
    """Soft assignments (Sinkhorn), Ŵ = T_outᵀ W T_in: of hidden dimensions, then of the rows of Q and K, and of V.

    Imfeld et al., "Transformer fusion with optimal transport", ICLR 2024, arXiv 2310.05719, with weights as features
    and uniform masses. Rows may go to other heads, as there. T has rows and columns that sum to 1. It is a mean
    of permutations and not orthogonal, so that it shrinks the source and does not keep its function. One T for the
    whole stream, and the weight of the entropy, are mam's own choices.
    """
    stream = assignment(_squared_lengths(pairs, "target", 0), _squared_lengths(pairs, "source", 0), cross(pairs))
    rows: dict[tuple[int, str], Tensor] = {}
    for pair in moved(pairs, Basis(stream)):
        for kind in ("qk", "v"):
            ours, theirs = (
                torch.cat([side[part][0].double() for part in kind], 1) for side in (pair.target, pair.source)
            )
            rows[pair.layer, kind] = assignment((ours**2).sum(1), (theirs**2).sum(1), ours @ theirs.T)
    return Basis(stream, rows)


def assignment(ours: Tensor, theirs: Tensor, inner: Tensor) -> Tensor:
    """Return the soft assignment ``[n, n]``, fp64, whose rows and columns sum to 1.

    It minimises Σ T C - softness · sd(C) · H(T), for the squared distances C of features (Cuturi, "Sinkhorn
    distances", NeurIPS 2013). Sinkhorn's algorithm converges slowly at a small weight of the entropy: the weight is
    halved down to softness, and Newton's method on the dual does the rest (Brauer et al., "A Sinkhorn-Newton method
    for entropic optimal transport", arXiv 1710.06635).

    Args:
        ours: The squared lengths of the target's features, ``[n]``.
        theirs: Those of the source's, ``[n]``.
        inner: The inner products of the two, ``[n, n]``.

    Raises:
        MergeError: The algorithm did not converge.
    """
    cost = (ours[:, None] + theirs[None] - 2 * inner).clamp_min(0)
    # In units of what tells one assignment from another. Unrelated features in many dimensions are all about equally
    # far apart: with a weight in units of the mean, T would be uniform and leave nothing of the source.
    deviation = cost.std(correction=0)
    if deviation <= 1e-12 * cost.mean().clamp_min(1e-30):  # every assignment is as good
        return torch.full_like(cost, 1 / len(cost))
    cost = cost / deviation
    first = max(SOFTNESS, float(cost.mean()))
    v = torch.zeros_like(theirs)
    weights = [first * 2.0**-i for i in range(math.ceil(math.log2(first / SOFTNESS)))] + [SOFTNESS]
    for weight, last in zip(weights, [first, *weights], strict=False):
        logits, v = -cost / weight, v * (last / weight)
        for _ in range(ROUNDS):
            u = -torch.logsumexp(logits + v[None], 1)
            v = -torch.logsumexp(logits + u[:, None], 0)
    return _polished(logits, u, v)


def _polished(logits: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return exp(logits + u + v) with potentials at which its rows and columns sum to 1, by damped Newton steps.

    Raises:
        MergeError: The method did not converge.
    """

    def residual(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        plan = (logits + u[:, None] + v[None]).exp()
        return plan, 1 - plan.sum(1), 1 - plan.sum(0)

    plan, rows, columns = residual(u, v)
    for _ in range(STEPS):
        error = max(rows.abs().max(), columns.abs().max())
        if error < PRECISION:
            return plan
        # With one potential eliminated; adding a constant to v and subtracting it from u changes nothing.
        scaled = plan / (1 - rows)[:, None]
        system = (1 - columns).diag() - plan.T @ scaled + 1 / len(plan)
        step_v = torch.linalg.lstsq(system, columns - scaled.T @ rows).solution
        step_u = (rows - plan @ step_v) / (1 - rows)
        size = 1.0
        while size > 1e-6:
            new = residual(u + size * step_u, v + size * step_v)
            if max(new[1].abs().max(), new[2].abs().max()) < error:
                break
            size /= 2
        u, v = u + size * step_u, v + size * step_v
        plan, rows, columns = new
    raise MergeError("align=ot: the assignment did not converge. Set align=permute")


def _squared_lengths(pairs: Sequence[LayerPair], side: str, dim: int) -> Tensor:
    """Return the squared lengths of the columns of Q, K and V of all layers together, ``[d]``, fp64."""
    terms = [(getattr(pair, side)[part][0].double() ** 2).sum(dim) for pair in pairs for part in "qkv"]
    return torch.stack(terms).sum(0)
