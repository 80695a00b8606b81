"""The merge of whole layers, from the tensors of both sides to what is written. Models and files both use it."""

from __future__ import annotations

from torch import Tensor

from mam.errors import MergeError
from mam.merging.activations import Activations, Moments, Sums
from mam.merging.adapted_source import QKV, AdaptedSources, Read, layer_of
from mam.merging.methods import Projection
from mam.merging.mixing import Effect, effect, merged_layer
from mam.merging.plan import MergePlan
from mam.merging.repair import repaired
from mam.merging.tables import METHODS
from mam.merging.task_vectors import readers, restored


class LayerMerges:
    """The layers of one merge: what changes in each, and the tensors that take the target's place."""

    def __init__(
        self, plan: MergePlan, own: Read, sources: AdaptedSources, base: Read | None, activations: Activations | None
    ) -> None:
        """Prepare the merge.

        Args:
            plan: The merge.
            own: Reads the weights of the unmerged target.
            sources: The sources as the plan presents them.
            base: Reads the weights of the common ancestor, for methods that need one.
            activations: Statistics for methods and repairs that need them.

        Raises:
            MergeError: Activations are needed and missing.
        """
        self._plan, self._weights, self._sources, self._base = plan, own, sources, base
        self._own, _ = readers(plan, own, (), base)
        self._moments = _moments(plan, activations)
        self._inputs = _inputs(plan, activations)

    def merge(self, layer: int) -> tuple[list[Effect], dict[str, Projection]]:
        """Return the effect on each part of a layer, and its new weight with the new bias, None if none is merged."""
        plan, parts = self._plan, self._plan.parts_at(layer)
        own, given = layer_of(self._own, layer, parts), layer_of(self._sources.read, layer, parts)
        effects = [effect(plan, layer, part, own[part], given[part]) for part in parts]
        merged = merged_layer(plan, layer, own, given, self._moments_of(layer))
        merged = restored(plan, layer, merged, self._base)
        if self._inputs is not None:
            merged = repaired(plan, layer, layer_of(self._weights, layer, QKV), merged, self._inputs[layer])
        return effects, merged

    def _moments_of(self, layer: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the moments of one layer's inputs by part for both sides, the source's in the target's basis."""
        if self._moments is None:
            return {}, {}
        plan, parts = self._plan, self._plan.parts_at(layer)
        theirs = (self._moments.target if plan.is_own else self._moments.source)[plan.pairs[layer]]
        ours = {part: self._moments.target[layer][part] for part in parts}
        return ours, {part: self._sources.moments(layer, part, theirs[part]) for part in parts}


def _inputs(plan: MergePlan, activations: Activations | None) -> Sums | None:
    """Return the second moments of the target's inputs, if the plan repairs what it merges."""
    if plan.options.repair == "none":
        return None
    return _required(f"repair={plan.options.repair}", activations).second_moments()


def _moments(plan: MergePlan, activations: Activations | None) -> Moments | None:
    """Return the moments of the inputs of both sides, if the method needs them."""
    method = plan.options.method.name
    if not METHODS[method].needs_moments:
        return None
    return _required(f"method={method}", activations).moments()


def _required(word: str, activations: Activations | None) -> Activations:
    if activations is None:
        raise MergeError(f"{word}: needs activations, which only mam run measures")
    return activations
