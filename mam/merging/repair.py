"""Repair (``repair=``): merged layers rescaled until attention is as sharp, and its values as large, as the target's.

A merge with an unrelated source shrinks Q, K and V, which makes attention softer. Repair undoes that, so that what is
left of an effect is not the temperature of attention. After Jordan et al., "REPAIR: renormalizing permuted activations
for interpolation repair", ICLR 2023, who rescale the activations of every channel; the quantities here are mam's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mam.errors import MergeError
from mam.merging.methods import Projection, augmented
from mam.merging.plan import MergePlan
from mam.merging.tables import REPAIRS

Second = Mapping[str, Tensor]  # by part, the mean of [x 1]ᵀ [x 1] over its inputs x, [d + 1, d + 1], fp64
Repair = Callable[[Mapping[str, Projection], Mapping[str, Projection], Second, int, tuple[int, ...]], dict[str, float]]
FACTORS: dict[str, Repair] = {}  # the functions, by the names in REPAIRS


def repaired(
    plan: MergePlan, layer: int, own: Mapping[str, Projection], merged: Mapping[str, Projection], inputs: Second
) -> dict[str, Projection]:
    """Return the merged projections of one layer, rescaled as ``plan.options.repair`` says.

    Args:
        plan: The merge.
        layer: The target's layer.
        own: The target's Q, K and V.
        merged: The merged ones of the plan's parts.
        inputs: The second moments of the unmerged target's inputs.

    Raises:
        MergeError: Nothing is left that could be rescaled.
    """
    if plan.options.repair == "none":
        return dict(merged)
    heads = tuple(range(plan.target.heads)) if plan.heads is None else plan.heads
    new = {part: _whole(own[part], merged.get(part)) for part in "qkv"}
    factors = FACTORS[plan.options.repair](own, new, inputs, plan.target.heads, heads)
    result = dict(merged)
    for part in set(factors) & set(merged):
        factor = factors[part]
        if not 0 < factor < float("inf"):
            raise MergeError(
                f"layer {layer}: repair={plan.options.repair}: the merged {part.upper()} is almost zero and cannot"
                " be rescaled. Use a smaller λ"
            )
        result[part] = _scaled(new[part], factor, plan.target.heads, heads)
    return result


def logits(
    own: Mapping[str, Projection],
    merged: Mapping[str, Projection],
    inputs: Second,
    count: int,
    heads: tuple[int, ...],
) -> dict[str, float]:
    """Rescales Q, K and V until logits have the target's spread and values its size, on calibration audio.

    The spread of a query's logits over the keys is what softmax reads. For queries and keys of independent frames its
    mean square is tr(E[q qᵀ] Cov[k]), summed over the merged heads; the size of V is E‖v‖². Both follow from moments of
    the unmerged target's inputs.
    """
    factors: dict[str, float] = {}
    changed = {part for part in "qkv" if merged[part] is not own[part]}
    joint = changed & {"q", "k"}
    spreads = [_spread(side, inputs, count, heads) for side in (own, merged)]
    norms = [_values(side, inputs, count, heads) for side in (own, merged)]
    if joint:  # the square root of a variance is shared by those of the two that were merged
        factors |= dict.fromkeys(joint, _ratio(*spreads) ** (0.5 / len(joint)))
    if "v" in changed:
        factors["v"] = _ratio(*norms) ** 0.5
    return factors


FACTORS["logits"] = logits
assert {"none", *FACTORS} == set(REPAIRS)


def _spread(side: Mapping[str, Projection], inputs: Second, count: int, heads: tuple[int, ...]) -> float:
    """Return Σ tr(E[q qᵀ] Cov[k]) over heads."""
    total = 0.0
    queries, keys = (augmented(side[part]).chunk(count) for part in "qk")
    for head in heads:
        q, k = (rows[head] for rows in (queries, keys))
        mean = k @ inputs["k"][:, -1]
        covariance = k @ inputs["k"] @ k.T - torch.outer(mean, mean)
        total += float(((q @ inputs["q"] @ q.T) * covariance).sum())
    return total


def _values(side: Mapping[str, Projection], inputs: Second, count: int, heads: tuple[int, ...]) -> float:
    """Return Σ E‖v‖² over heads."""
    values = augmented(side["v"]).chunk(count)
    return sum(float(((values[head] @ inputs["v"]) * values[head]).sum()) for head in heads)


def _ratio(own: float, merged: float) -> float:
    return own / merged if merged > 0 else float("inf")


def _whole(own: Projection, merged: Projection | None) -> Projection:
    """Return a projection as the merged model has it: where a bias is not merged, with the target's."""
    if merged is None:
        return own
    return merged[0], own[1] if merged[1] is None else merged[1]


def _scaled(projection: Projection, factor: float, count: int, heads: tuple[int, ...]) -> Projection:
    """Return a projection whose rows of these heads are multiplied."""
    weight, bias = projection
    rows = torch.ones(count, dtype=weight.dtype)
    rows[list(heads)] = factor
    rows = rows.repeat_interleave(len(weight) // count)
    return weight * rows[:, None], None if bias is None else bias * rows
