"""Writes merged Q, K and V into a model, in place, always from the pristine fp32 tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mam.errors import MergeError
from mam.merge.activations import Activations, Moments
from mam.merge.adapted_source import Given, Read, layer_of
from mam.merge.align import ALIGNMENTS
from mam.merge.methods import METHODS, Projection
from mam.merge.mixing import changed, merged_layer, substituted
from mam.merge.plan import MergePlan
from mam.models.blocks import AttentionBlock


@dataclass(frozen=True)
class MergeReport:
    """What a merge wrote: numbers of tensors and parameters, and notes on what was left out."""

    tensors: int
    parameters: int
    notes: tuple[str, ...]


class Merger:
    """Merges one source into one target, again and again at other λ, without drift.

    Keeps a copy of every projection of the target that it changes, as it was before (fp32, on the CPU), and of the
    source what `Given` keeps.
    """

    def __init__(self, blocks: Sequence[AttentionBlock], read_source: Read) -> None:
        """Args: ``blocks`` of the target, fp32; ``read_source`` (layer, part) -> weight, bias or None, fp32."""
        self._blocks, self._read = blocks, read_source
        self._pristine: dict[tuple[int, str], Projection] = {}
        self._changed: set[tuple[int, str]] = set()
        self._given: tuple[object, Given] | None = None
        self.activations: Activations | None = None  # for methods and alignments that need them

    def keep_all(self) -> None:
        """Copy every projection now: before the model is cast or moved, after which its fp32 values are gone."""
        for block in self._blocks:
            for part in block.parts:
                self._own(block.layer, part)

    def _own(self, layer: int, part: str) -> Projection:
        """The target's projection as it was before any merge."""
        if (layer, part) not in self._pristine:
            linear = self._blocks[layer].projection(part)
            self._pristine[layer, part] = (
                _copy(linear.weight),
                None if linear.bias is None else _copy(linear.bias),
            )
        return self._pristine[layer, part]

    @torch.no_grad()
    def apply(self, plan: MergePlan) -> MergeReport:
        """Make the model what ``plan`` says; everything an earlier plan changed is first put back.

        Raises:
            MergeError: a source tensor of another shape, or one with NaN or infinity. The model is then the target.
        """
        self.restore()
        for part in plan.parts:
            self._blocks[0].projection(part)  # raises where it is not there
        if plan.is_identity:
            return MergeReport(0, 0, ())
        given, moments = self.given(plan), self._moments(plan)
        notes: dict[str, None] = {}
        tensors = parameters = 0
        try:
            for layer in plan.layers:
                if not plan.lams[layer]:
                    continue
                ours, theirs = (layer_of(read, layer, plan.parts) for read in (self._own, given.read))
                made, said = merged_layer(plan, layer, ours, theirs, moments_of(plan, layer, given, moments))
                notes |= dict.fromkeys(said)
                for part, projection in made.items():
                    self._changed.add((layer, part))
                    _write(self._blocks[layer].projection(part), projection)
                    written = [tensor for tensor in projection if tensor is not None]
                    tensors += len(written)
                    parameters += sum(changed(plan, tensor) for tensor in written)
        except BaseException:
            self.restore()
            raise
        return MergeReport(tensors, parameters, tuple(notes))

    @torch.no_grad()
    def restore(self) -> None:
        """Put the target's own tensors back, bit for bit."""
        for layer, part in self._changed:
            _write(self._blocks[layer].projection(part), self._pristine[layer, part])
        self._changed.clear()

    @torch.no_grad()
    def sources(self, plan: MergePlan) -> dict[tuple[int, str], Projection]:
        """What takes the source's place at each (target layer, part): weight, and bias where either side has one.

        Raises:
            MergeError: as `apply`.
        """
        given = self.given(plan)
        return {
            (layer, part): substituted(plan, layer, part, self._own(layer, part), given.read(layer, part))
            for layer in plan.layers
            for part in plan.parts
        }

    def given(self, plan: MergePlan) -> Given:
        """What the target is given; made anew only where another plan gives something else."""
        hears = self.activations if ALIGNMENTS[plan.align].needs_activations else None
        key = Given.key(plan), None if hears is None else hears.key
        if self._given is None or self._given[0] != key:
            self._given = key, Given(plan, self._own, self._read, self.activations)
        return self._given[1]

    def _moments(self, plan: MergePlan) -> Moments | None:
        if not METHODS[plan.method].needs_moments:
            return None
        if self.activations is None:
            raise MergeError(f"method={plan.method}: needs activations, which are measured where models run: mam run")
        return self.activations.moments()


def moments_of(
    plan: MergePlan, layer: int, given: Given, moments: Moments | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Moments of one layer's inputs on both sides, those of the source in the target's basis, by part."""
    if moments is None:
        return {}, {}
    theirs = (moments.target if plan.is_own else moments.source)[plan.pairs[layer]]
    ours = {part: moments.target[layer][part] for part in plan.parts}
    return ours, {part: given.moments(layer, part, theirs[part]) for part in plan.parts}


def _write(linear: torch.nn.Linear, projection: Projection) -> None:
    weight, bias = projection
    linear.weight.copy_(weight)
    if bias is not None:
        linear.bias.copy_(bias)


def _copy(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", torch.float32, copy=True)
