"""One layer merged: control, biases, method, heads. What writes a merge, into a model or a file, asks here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mam.errors import MergeError
from mam.merge.adapted_source import is_finite
from mam.merge.controls import CONTROLS, Place
from mam.merge.methods import METHODS, Layer, Projection
from mam.merge.plan import MergePlan

Projections = Mapping[str, Projection]  # by part


def merged_layer(
    plan: MergePlan,
    layer: int,
    own: Projections,
    given: Projections,
    moments: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] = ({}, {}),
) -> tuple[dict[str, Projection], list[str]]:
    """The projections of one layer merged as ``plan`` says; its λ is not 0. All tensors fp32.

    Args:
        plan: what is to be merged.
        layer: the target's layer.
        own: the target's weight ``[d, d]`` and bias ``[d]``, None where it has none, of each of the plan's parts.
        given: the source's, of the same shape.
        moments: of the inputs of both, by part; for methods that need them.

    Returns:
        The new weights, each with the new bias or None where none is merged; notes on what was dropped.
    """
    parts: tuple[dict[str, Projection], dict[str, Projection]] = ({}, {})
    notes = []
    for part in plan.parts:
        (weight, bias), (new, new_bias) = own[part], substituted(plan, layer, part, own[part], given[part])
        has_bias = plan.has_bias(part)
        if has_bias and bias is None:
            notes += [_dropped_bias(part)] if new_bias is not None and bool(new_bias.any()) else []
        elif has_bias and given[part][1] is None:
            notes.append(
                f"the source's {part.upper()} has no bias: the target's is merged with zero. bias=false leaves it alone"
            )
        has_bias = has_bias and bias is not None
        parts[0][part], parts[1][part] = (weight, bias if has_bias else None), (new, new_bias if has_bias else None)
    widths = plan.head_width, plan.source_head_width
    target, source = (
        Layer(side, plan.target_heads, width, of, plan.alpha)
        for side, width, of in zip(parts, widths, moments, strict=True)
    )
    merged = METHODS[plan.method].merge(target, source, plan.lams[layer])
    for part, tensors in merged.items():
        if not all(tensor is None or is_finite(tensor) for tensor in tensors):
            raise MergeError(
                f"layer {layer}, {part}: method={plan.method} control={plan.control} made NaN or infinite values of it."
            )
    return {part: _of_heads(plan, part, parts[0][part], merged[part]) for part in plan.parts}, notes


def substituted(plan: MergePlan, layer: int, part: str, own: Projection, given: Projection) -> Projection:
    """What takes the source's place under the plan's control; no bias only where neither side has one.

    A projection without bias is one whose bias is zero.
    """
    place, substitute = Place(plan.seed, plan.draw, layer, part), CONTROLS[plan.control].substitute
    (weight, bias), (other, other_bias) = own, given
    if bias is None and other_bias is None:
        return substitute(other, weight, place), None
    zeros = torch.zeros_like(weight[:, 0])
    return substitute(other, weight, place), substitute(
        zeros if other_bias is None else other_bias, zeros if bias is None else bias, place
    )


def changed(plan: MergePlan, tensor: Tensor) -> int:
    """How many numbers of a merged weight or bias belong to the heads that are merged."""
    share = 1.0 if plan.heads is None else len(plan.heads) * plan.head_width / len(tensor)
    return round(share * tensor.numel())


def _of_heads(plan: MergePlan, part: str, own: Projection, merged: Projection) -> Projection:
    """``merged`` where it belongs to one of the plan's heads, else ``own``.

    A head is a block of rows of Q, K and V and of their biases, and of columns of O.
    """
    if plan.heads is None:
        return merged
    chosen = torch.zeros(len(own[0]), dtype=torch.bool)
    for head in plan.heads:
        chosen[head * plan.head_width : (head + 1) * plan.head_width] = True
    weight = torch.where(chosen[None, :] if part == "o" else chosen[:, None], merged[0], own[0])
    has_bias = own[1] is not None and merged[1] is not None
    return weight, torch.where(chosen, merged[1], own[1]) if has_bias else None  # type: ignore[arg-type]


def _dropped_bias(part: str) -> str:
    consequence = "which softmax cancels" if part == "k" else "which the target has no place for"
    return f"the source's {part.upper()} bias is dropped: the target's {part.upper()} has none ({consequence})"
