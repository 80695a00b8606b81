"""The source's projections, checked and converted to the target's width and basis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from mam.errors import MergeError
from mam.merging import align as _align  # noqa: F401  # fills the registry of alignments
from mam.merging import transport as _transport  # noqa: F401
from mam.merging.activations import Activations
from mam.merging.basis import Basis, Heads, LayerPair, moved
from mam.merging.controls import SUBSTITUTES, Place
from mam.merging.fits import FITS
from mam.merging.methods import Projection
from mam.merging.plan import MergePlan
from mam.merging.project import projected
from mam.merging.selection import ATTENTION
from mam.merging.tables import ALIGNMENTS, CONTROLS

T = TypeVar("T")
QKV = ("q", "k", "v")
Read = Callable[[int, str], Projection]  # (layer, part) -> weight, bias or None, fp32


class AdaptedSource:
    """The source as a plan presents it to the target, independent of λ.

    A source that needs no conversion is read on access and not kept, so that at most one layer is in memory. A
    projected or aligned source is kept in the target's basis, because the conversion is costly.
    """

    def __init__(self, plan: MergePlan, own: Read, source: Read, activations: Activations | None = None) -> None:
        """Prepare the source for a plan; nothing is read yet.

        Args:
            plan: The merge.
            own: Reads the projections of the pristine target.
            source: Reads the projections of the source.
            activations: Statistics for alignments that need them.
        """
        if plan.is_provisional and not plan.is_own:
            raise MergeError(f"pairing={plan.options.pairing}: needs activations, which only mam run measures")
        self._plan, self._own, self._activations = plan, own, activations
        self._read = own if plan.is_own else source
        if CONTROLS[plan.options.control].is_drawn_first:
            self._read = _drawn(plan, self._read)
        self._checked: set[tuple[int, str]] = set()
        self._kept: dict[tuple[int, str], Projection] = {}

    @staticmethod
    def key(plan: MergePlan) -> tuple[object, ...]:
        """Return a key that is equal for plans with the same converted source."""
        control = plan.options.control
        drawn = (control, plan.draw) if CONTROLS[control].is_drawn_first else ()
        pairs = tuple(plan.pairs.items())
        return plan.is_own, pairs, plan.options.align, plan.project, plan.seed, plan.needs_base, drawn

    def read(self, layer: int, part: str) -> Projection:
        """Return weight ``[d, d]`` and bias ``[d]`` or None for this layer of the target, fp32.

        Raises:
            MergeError: The source's tensor has another shape, or contains NaN or infinite values.
        """
        if self.basis.is_identity:
            return self._source(layer, part)
        if (layer, part) not in self._kept:
            self._kept[layer, part] = self.basis.moved(layer, part, self._source(layer, part))
        return self._kept[layer, part]

    def moments(self, layer: int, part: str, moments: Tensor) -> Tensor:
        """Convert the moments of the source's inputs; see `Basis.moved_moments`."""
        return self.basis.moved_moments(layer, part, moments)

    @cached_property
    def basis(self) -> Basis:
        """The basis, fitted to Q, K and V of all pairs regardless of the parts that are merged."""
        plan, align = self._plan, self._plan.options.align
        if align == "none" and plan.project is None:
            return Basis()
        cross_moments: Mapping[int, Tensor] = {}
        if ALIGNMENTS[align].needs_activations:
            if self._activations is None:
                raise MergeError(f"align={align}: needs activations, which only mam run measures")
            cross_moments = self._activations.cross(plan.pairs, plan.is_own)
        pairs = []
        parts = (*QKV, "o") if ALIGNMENTS[align].needs_output else QKV
        for layer in plan.pairs:
            target, source = layer_of(self._own, layer, parts), layer_of(self._source, layer, parts)
            pairs.append(LayerPair(layer, target, source, cross_moments.get(layer)))
        heads = Heads(plan.target.heads, plan.source.heads, plan.seed)
        basis = Basis()
        with torch.inference_mode(False), torch.no_grad():
            if pairs[0].source["q"][0].shape != pairs[0].target["q"][0].shape and plan.project:
                basis = projected(pairs, heads, plan.project)
            return basis.then(FITS[align].fit(moved(pairs, basis), heads))

    def _source(self, layer: int, part: str) -> Projection:
        """Read a projection as stored in the file; it is checked on the first read."""
        place = self._plan.pairs[layer], part
        if place in self._checked:
            return self._read(*place)
        like = None if self._plan.project else self._own(layer, part)[0]
        projection = checked_source(self._read, *place, like)
        self._checked.add(place)
        return projection


class AdaptedSources:
    """All sources of a plan, each adapted by itself."""

    def __init__(
        self, plan: MergePlan, own: Read, sources: Sequence[Read], activations: Activations | None = None
    ) -> None:
        """Prepare the sources, given by what reads each; see `AdaptedSource`."""
        self.each = [AdaptedSource(one, own, read, activations) for one, read in zip(plan.each, sources, strict=True)]

    @staticmethod
    def key(plan: MergePlan) -> tuple[object, ...]:
        """Return a key that is equal for plans with the same converted sources."""
        return tuple(AdaptedSource.key(one) for one in plan.each)

    def read(self, layer: int, part: str) -> tuple[Projection, ...]:
        """Return the projection of each source; see `AdaptedSource.read`."""
        return tuple(one.read(layer, part) for one in self.each)

    def moments(self, layer: int, part: str, moments: Tensor) -> Tensor:
        """Convert the moments of the only source's inputs; see `Basis.moved_moments`."""
        return self.each[0].moments(layer, part, moments)


def _drawn(plan: MergePlan, source: Read) -> Read:
    """Return a reader of what the plan's control puts in the source's place before it is projected or aligned."""
    substitute = SUBSTITUTES[plan.options.control]

    def read(layer: int, part: str) -> Projection:
        weight, bias = source(layer, part)
        place = Place(plan.seed, plan.draw, layer, part)
        return substitute(weight, weight, place), None if bias is None else substitute(bias, bias, place)

    return read


def checked_source(read: Read, layer: int, part: str, like: Tensor | None) -> Projection:
    """Read one projection of the source; MergeError unless it is finite and shaped ``like`` the target's, or square."""
    weight, bias = finite(read, "source", layer, part)
    expected = (len(weight), len(weight)) if like is None else tuple(like.shape)
    if weight.shape != expected or (bias is not None and bias.shape != expected[:1]):
        shape = tuple(weight.shape) if bias is None else f"{tuple(weight.shape)} with bias {tuple(bias.shape)}"
        remedy = (
            "set on_mismatch=project, or choose a source as wide as the target"
            if part in ATTENTION
            else f"leave {part[0]} out of parts, or choose a source as wide as the target"
        )
        raise MergeError(
            f"source layer {layer}, {part}: its shape is {shape}, that of the target is {expected}. Widths must"
            f" agree: {remedy}."
        )
    return weight, bias


def is_finite(tensor: Tensor) -> bool:
    """Return whether no value is NaN or infinite.

    Usually takes a single pass, because one such value makes the sum non-finite too.
    """
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def finite(read: Read, side: str, layer: int, part: str) -> Projection:
    """Read one projection of either side; MergeError if it contains NaN or infinity."""
    weight, bias = read(layer, part)
    for tensor in (weight, bias):
        if tensor is not None and not is_finite(tensor):
            raise MergeError(f"{side} layer {layer}, {part}: has NaN or infinite values. Check the file for damage.")
    return weight, bias


def layer_of(read: Callable[[int, str], T], layer: int, parts: tuple[str, ...]) -> Mapping[str, T]:
    """Read several projections of one layer."""
    return {part: read(layer, part) for part in parts}
