"""Task vectors τ = W - W_0: what two fine-tuned models of the same shape changed in their common ancestor, the base.

A merge of task vectors reads τ in the place of weights, so that methods and controls are applied to τ, and adds W_0 to
the result: W = W_0 + method(τ_t, control(τ_s)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mam.errors import MergeError
from mam.merging.adapted_source import Read, finite
from mam.merging.methods import Projection
from mam.merging.plan import MergePlan


def readers(plan: MergePlan, target: Read, sources: Sequence[Read], base: Read | None) -> tuple[Read, tuple[Read, ...]]:
    """Return the readers of target and sources for a plan: of weights, or of task vectors if the plan merges those.

    Raises:
        MergeError: The plan needs a base, and there is none.
    """
    if not plan.needs_base:
        return target, tuple(sources)
    ancestor = _required(plan, base)
    return _relative(target, ancestor), tuple(_relative(source, ancestor) for source in sources)


def restored(plan: MergePlan, layer: int, merged: Mapping[str, Projection], base: Read | None) -> dict[str, Projection]:
    """Return merged weights: ``merged`` as it is, or added to the base if the plan merges task vectors."""
    if not plan.needs_base:
        return dict(merged)
    ancestor = _required(plan, base)
    return {part: _combined(projection, ancestor(layer, part), 1) for part, projection in merged.items()}


def _required(plan: MergePlan, base: Read | None) -> Read:
    if base is None:
        raise MergeError(
            f"method={plan.options.method.name}: needs a base, but none was given. Set model.base (in mam.merge:"
            " base=)."
        )
    return base


def _relative(read: Read, base: Read) -> Read:
    """Return a reader of what a model changed in its base; raises MergeError if the two do not have equal shapes."""

    def difference(layer: int, part: str) -> Projection:
        own, ancestor = read(layer, part), finite(base, "base", layer, part)
        for name, tensor, other in zip(("weight", "bias"), own, ancestor, strict=True):
            shape, expected = (None if one is None else tuple(one.shape) for one in (other, tensor))
            if shape != expected:
                raise MergeError(
                    f"base layer {layer}, {part}: the shape of its {name} is {shape or 'missing'}, that of the"
                    " fine-tuned model"
                    f" {expected or 'missing'}. The base must be the checkpoint that target and source were fine-tuned"
                    " from."
                )
        return _combined(own, ancestor, -1)

    return difference


def _combined(one: Projection, other: Projection, factor: int) -> Projection:
    """Return one + factor · other; None where either has no bias."""
    (weight, bias), (other_weight, other_bias) = one, other
    new_bias: Tensor | None = None
    if bias is not None and other_bias is not None:
        new_bias = bias.add(other_bias, alpha=factor)
    return weight.add(other_weight, alpha=factor), new_bias
