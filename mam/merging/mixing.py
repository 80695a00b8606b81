"""The merge of one layer: control, biases, method and heads. Merges into models and into files both use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mam.errors import MergeError
from mam.merging.adapted_source import is_finite
from mam.merging.controls import SUBSTITUTES, Place
from mam.merging.methods import MERGES, LayerSide, Projection
from mam.merging.plan import MergePlan
from mam.merging.tables import CONTROLS

Projections = Mapping[str, Projection]  # by part
Given = tuple[Projection, ...]  # the same projection of each source


@dataclass(frozen=True)
class Effect:
    """The numbers of tensors and parameters that merging one projection changes, and notes on it."""

    tensors: int
    parameters: int
    notes: tuple[str, ...] = ()


def effect(plan: MergePlan, layer: int, part: str, own: Projection, given: Given) -> Effect:
    """Return the effect of merging a projection, without merging it; a bias may have no counterpart."""
    effects = [_effect(one, layer, part, own, theirs) for one, theirs in zip(plan.each, given, strict=True)]
    if len(effects) == 1:
        return effects[0]
    notes = tuple(f"source {n}: {note}" for n, one in enumerate(effects, 1) for note in one.notes)
    return replace(effects[0], notes=notes)


def _effect(plan: MergePlan, layer: int, part: str, own: Projection, given: Projection) -> Effect:
    (weight, bias), (_, given_bias) = own, given
    name = part.upper()
    if not plan.has_bias(part):
        return Effect(1, changed(plan, weight))
    if bias is not None:
        note = f"the source's {name} has no bias, so the target's is merged with zero. bias=false leaves it unchanged"
        parameters = changed(plan, weight) + changed(plan, bias)
        return Effect(2, parameters, (note,) if given_bias is None else ())
    dropped = _substituted_bias(plan, layer, part, own, given)
    if dropped is None or not dropped.any():
        return Effect(1, changed(plan, weight))
    consequence = "this has no effect after softmax" if part == "k" else "its effect is lost"
    note = f"the source's {name} bias is dropped, since the target's {name} has none ({consequence})"
    return Effect(1, changed(plan, weight), (note,))


def merged_layer(
    plan: MergePlan,
    layer: int,
    own: Projections,
    given: Mapping[str, Given],
    moments: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] = ({}, {}),
) -> dict[str, Projection]:
    """Return the projections of one layer merged according to ``plan``, for a λ other than 0. All tensors are fp32.

    Args:
        plan: The merge.
        layer: The target's layer.
        own: The target's weight ``[d, d]`` and bias ``[d]`` or None, for each of the plan's parts.
        given: Those of each source, of the same shape.
        moments: Moments of the inputs of both sides, by part, for methods that need them.

    Returns:
        The new weights, each with the new bias, or None if no bias is merged.

    Raises:
        MergeError: The method produced NaN or infinite values.
    """
    target: dict[str, Projection] = {}
    source: dict[str, Projection] = {}
    for part in plan.parts_at(layer):
        weight, bias = own[part]
        new, new_bias = substituted(plan, layer, part, own[part], given[part])
        has_bias = plan.has_bias(part) and bias is not None
        target[part] = weight, bias if has_bias else None
        source[part] = new, new_bias if has_bias else None
    heads, options, place = plan.target.heads, plan.options.method, Place(plan.seed, plan.draw, layer)
    merged = MERGES[plan.options.method.name](
        LayerSide(target, heads, plan.target.head_width, moments[0], options, place),
        LayerSide(source, heads, plan.source.head_width, moments[1], options, place),
        plan.lams[layer],
    )
    for part in plan.parts_at(layer):
        _refuse_unlike(plan, layer, part, target[part], merged.get(part))
    return {part: _of_heads(plan, part, target[part], merged[part]) for part in plan.parts_at(layer)}


def _refuse_unlike(plan: MergePlan, layer: int, part: str, own: Projection, merged: Projection | None) -> None:
    """Raise MergeError unless a merged projection can take the place of the target's."""
    method, control = plan.options.method.name, plan.options.control
    place = f"layer {layer}, {part}: method={method} control={control}"
    if not isinstance(merged, tuple) or len(merged) != 2 or not isinstance(merged[0], Tensor):
        raise MergeError(f"{place} does not return a pair (weight, bias or None).")
    for name, tensor, like in zip(("weight", "bias"), merged, own, strict=True):
        if (tensor is None) != (like is None):
            raise MergeError(f"{place} returns {'no' if tensor is None else 'a'} {name}, unlike the target.")
        if tensor is None or like is None:
            continue
        if not _is_like(tensor, like):
            raise MergeError(f"{place} returns a {name} of {_kind_of(tensor)}; the target's is {_kind_of(like)}.")
        if not is_finite(tensor):
            raise MergeError(f"{place} returns NaN or infinite values.")


def substituted(plan: MergePlan, layer: int, part: str, own: Projection, given: Given) -> Projection:
    """Return the tensors that are mixed in: those of `substitutes`, weighted by the shares of the sources in λ."""
    return joint(plan, layer, substitutes(plan, layer, part, own, given))


def joint(plan: MergePlan, layer: int, given: Given) -> Projection:
    """Return the mean of the same projection of several sources, weighted by their shares in λ."""
    if len(given) == 1:
        return given[0]
    weights, biases = zip(*given, strict=True)
    shares = plan.shares_at(layer)
    weight = _mean(weights, shares)
    assert weight is not None, "a source has weights"
    return weight, _mean(biases, shares)


def substitutes(plan: MergePlan, layer: int, part: str, own: Projection, given: Given) -> Given:
    """Return the tensors in the place of each source's under the plan's control; no bias only if no side has one."""
    return tuple(
        (_substitute(one, layer, part, theirs[0], own[0]), _substituted_bias(one, layer, part, own, theirs))
        for one, theirs in zip(plan.each, given, strict=True)
    )


def _mean(tensors: Sequence[Tensor | None], shares: Sequence[float]) -> Tensor | None:
    """Return Σ share · tensor; a missing tensor counts as zero, and if all are missing so is the mean."""
    terms = [tensor * share for tensor, share in zip(tensors, shares, strict=True) if tensor is not None]
    if not terms:
        return None
    total: Tensor = sum(terms[1:], start=terms[0])
    return total


def _substituted_bias(plan: MergePlan, layer: int, part: str, own: Projection, given: Projection) -> Tensor | None:
    """Return the bias in the source's place; a missing bias counts as zero, and two missing ones give None."""
    (weight, bias), (_, other_bias) = own, given
    if bias is None and other_bias is None:
        return None
    zeros = weight.new_zeros(len(weight))
    return _substitute(plan, layer, part, zeros if other_bias is None else other_bias, zeros if bias is None else bias)


def _substitute(plan: MergePlan, layer: int, part: str, given: Tensor, own: Tensor) -> Tensor:
    """Return what the plan's control puts in the place of one of the source's tensors."""
    control = plan.options.control
    if CONTROLS[control].is_drawn_first:  # `AdaptedSource` has drawn it
        return given
    tensor = SUBSTITUTES[control](given, own, Place(plan.seed, plan.draw, layer, part))
    if not _is_like(tensor, own):
        raise MergeError(
            f"layer {layer}, {part}: control={control} returns {_kind_of(tensor)} for a tensor of {_kind_of(own)}."
        )
    return tensor


def _is_like(tensor: object, own: Tensor) -> bool:
    return isinstance(tensor, Tensor) and _kind_of(tensor) == _kind_of(own)


def _kind_of(value: object) -> str:
    """Return what a tensor must have in common with another to take its place, in words."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    place = "" if value.layout == torch.strided else f", {value.layout}"
    return f"{tuple(value.shape)} of {value.dtype} on {value.device}{place}"


def changed(plan: MergePlan, tensor: Tensor) -> int:
    """Return how many values of a weight or bias belong to the merged heads."""
    share = 1.0 if plan.heads is None else len(plan.heads) * plan.target.head_width / len(tensor)
    return round(share * tensor.numel())


def _of_heads(plan: MergePlan, part: str, own: Projection, merged: Projection) -> Projection:
    """Combine ``merged`` for the plan's heads with ``own`` for the others.

    A head is a block of rows of Q, K and V and of their biases, and of columns of O.
    """
    if plan.heads is None:
        return merged
    chosen = torch.zeros(len(own[0]), dtype=torch.bool)
    for head in plan.heads:
        chosen[head * plan.target.head_width : (head + 1) * plan.target.head_width] = True
    weight = torch.where(chosen[None, :] if part == "o" else chosen[:, None], merged[0], own[0])
    has_bias = own[1] is not None and merged[1] is not None
    return weight, torch.where(chosen, merged[1], own[1]) if has_bias else None  # type: ignore[arg-type]
