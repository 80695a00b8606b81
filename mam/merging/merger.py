"""Writing merged projections into a model, in place, always from the pristine fp32 tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mam.merging.activations import Activations
from mam.merging.adapted_source import AdaptedSources, Read
from mam.merging.layers import LayerMerges
from mam.merging.methods import Projection
from mam.merging.mixing import Effect, Given, effect, joint, substitutes
from mam.merging.plan import MergePlan
from mam.merging.tables import ALIGNMENTS
from mam.merging.task_vectors import readers


@dataclass(frozen=True)
class MergeReport:
    """The numbers of tensors and parameters that a merge wrote, and notes on what it left out."""

    tensors: int
    parameters: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, effects: Sequence[Effect]) -> MergeReport:
        """Sum the effects of merging several projections, with each note once."""
        notes = dict.fromkeys(note for entry in effects for note in entry.notes)
        return cls(sum(entry.tensors for entry in effects), sum(entry.parameters for entry in effects), tuple(notes))


class Block(Protocol):
    """The merged parts of one layer, as modules of the model itself: writing to them changes the model."""

    @property
    def layer(self) -> int:
        """The number of the layer, from 0."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The tensors that exist, as in `mam.merging.selection.PARTS`."""

    def projection(self, part: str) -> Any:
        """Return the module of a part, which has a weight and perhaps a bias; MergeError if it does not exist."""


class Merger:
    """A repeatable merge of one source or several into one target, at any λ, without drift.

    It keeps an fp32 copy on the CPU of every projection of the target that it changes, and of a source what
    `AdaptedSource` keeps.
    """

    def __init__(
        self, blocks: Sequence[Block], read_source: Read, read_base: Read | None = None, *further: Read
    ) -> None:
        """Prepare merging; nothing is copied yet.

        Args:
            blocks: The blocks of the target, fp32.
            read_source: A function (layer, part) -> weight, bias or None, fp32.
            read_base: The same for the common ancestor of both, for methods that need one.
            *further: The same for the second source and those after it.
        """
        self._blocks, self._reads, self._base = blocks, (read_source, *further), read_base
        self._pristine: dict[tuple[int, str], Projection] = {}
        self._changed: set[tuple[int, str]] = set()
        self._sources: tuple[object, AdaptedSources] | None = None
        self.activations: Activations | None = None  # for methods and alignments that need them

    def keep(self, layers: Iterable[int], parts: Sequence[str]) -> None:
        """Copy what may be merged now, before the model is cast or moved and loses its fp32 values."""
        for layer in layers:
            for part in self._blocks[layer].parts:
                if part in parts:
                    self._own(layer, part)

    def _own(self, layer: int, part: str) -> Projection:
        """Return the target's projection as it was before any merge."""
        if (layer, part) not in self._pristine:
            linear = self._blocks[layer].projection(part)
            bias = getattr(linear, "bias", None)  # some norms have none
            self._pristine[layer, part] = _copy(linear.weight), None if bias is None else _copy(bias)
        return self._pristine[layer, part]

    @torch.no_grad()
    def apply(self, plan: MergePlan) -> MergeReport:
        """Merge according to ``plan``, after undoing the changes of an earlier plan.

        Raises:
            MergeError: A source tensor has another shape or contains NaN or infinity. The model is then the unmerged
                target.
        """
        effects: list[Effect] = []
        try:
            self._restore(self._changed - self._written_whole(plan))
            self._refuse_missing(plan)
            if plan.is_identity:
                return MergeReport.of([])
            merges = LayerMerges(plan, self._own, self._adapted(plan), self._base, self.activations)
            for layer in plan.merged_layers:
                effect_by_part, merged = merges.merge(layer)
                effects += effect_by_part
                for part, projection in merged.items():
                    self._changed.add((layer, part))
                    _write(self._blocks[layer].projection(part), projection)
        except BaseException:
            self.restore()
            raise
        return MergeReport.of(effects)

    @torch.no_grad()
    def report(self, plan: MergePlan) -> MergeReport:
        """Return the report of `apply` without merging; raises MergeError as `apply` does for the tensors it reads."""
        self._refuse_missing(plan)
        sources, effects = self._adapted(plan), []
        read_own, _ = self._readers(plan)
        for layer in plan.merged_layers:
            for part in plan.parts_at(layer):
                effects.append(effect(plan, layer, part, read_own(layer, part), sources.read(layer, part)))
        return MergeReport.of(effects)

    def _refuse_missing(self, plan: MergePlan) -> None:
        """Raise MergeError if the target lacks one of the plan's projections."""
        for layer in plan.layers:
            for part in plan.parts_at(layer):
                self._blocks[layer].projection(part)

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the target's own tensors, bit for bit."""
        self._restore(self._changed)

    def _restore(self, places: set[tuple[int, str]]) -> None:
        for layer, part in places:
            _write(self._blocks[layer].projection(part), self._pristine[layer, part])
        self._changed = self._changed - places

    def _written_whole(self, plan: MergePlan) -> set[tuple[int, str]]:
        """Return the changed projections of which a merge by ``plan`` writes all, so that they need not be restored.

        The set is empty where activations may be measured first, which needs the unmerged target.
        """
        if self.activations is not None:
            return set()
        return {
            (layer, part)
            for layer in plan.merged_layers
            for part in plan.parts_at(layer)
            if (layer, part) in self._changed and (plan.has_bias(part) or self._pristine[layer, part][1] is None)
        }

    @torch.no_grad()
    def sources(self, plan: MergePlan) -> dict[tuple[int, str], Given]:
        """Return the tensors in the place of each source's at each (target layer, part).

        A bias is included if any side has one. For a plan with a base they are task vectors.

        Raises:
            MergeError: As in `apply`.
        """
        sources = self._adapted(plan)
        read_own, _ = self._readers(plan)
        return {
            (layer, part): substitutes(plan, layer, part, read_own(layer, part), sources.read(layer, part))
            for layer in plan.layers
            for part in plan.parts_at(layer)
        }

    def joint_source(self, plan: MergePlan) -> dict[tuple[int, str], Given]:
        """Return `sources` as those of one source, the mean of several by their shares in λ."""
        return {(layer, part): (joint(plan, layer, given),) for (layer, part), given in self.sources(plan).items()}

    def _adapted(self, plan: MergePlan) -> AdaptedSources:
        """Return the sources in the target's basis; they are rebuilt only for a plan with another conversion."""
        needs_activations = ALIGNMENTS[plan.options.align].needs_activations
        inputs = self.activations.key if self.activations is not None and needs_activations else None
        key = AdaptedSources.key(plan), inputs
        if self._sources is None or self._sources[0] != key:
            self._sources = key, AdaptedSources(plan, *self._readers(plan), self.activations)
        return self._sources[1]

    def _readers(self, plan: MergePlan) -> tuple[Read, tuple[Read, ...]]:
        """Return the readers of target and sources."""
        return readers(plan, self._own, self._reads, self._base)


def _write(module: Any, projection: Projection) -> None:
    weight, bias = projection
    module.weight.copy_(weight)
    if bias is not None:
        module.bias.copy_(bias)


def _copy(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", torch.float32, copy=True)
