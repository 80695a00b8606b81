"""Writes merged Q, K and V into a model, in place, always from the pristine fp32 tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mam.errors import MergeError
from mam.merge.controls import CONTROLS, Place
from mam.merge.methods import METHODS
from mam.merge.plan import MergePlan
from mam.models.attention import AttentionBlock

ReadSource = Callable[[int, str], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class MergeReport:
    """What a merge wrote: numbers of tensors and parameters, and notes on what was left out."""

    tensors: int
    parameters: int
    notes: tuple[str, ...]


class Merger:
    """Merges one source into one target, again and again at other λ, without drift.

    Keeps a copy of every projection of the target that it changes, as it was before (fp32, on the CPU). Source tensors
    are read where they are mixed in and not kept: more than one layer of them is never in memory.
    """

    def __init__(self, blocks: Sequence[AttentionBlock], read_source: ReadSource) -> None:
        """Args: ``blocks`` of the target, fp32; ``read_source`` (layer, part) -> weight, bias or None, fp32."""
        self._blocks, self._read = blocks, read_source
        self._pristine: dict[tuple[int, str], tuple[Tensor, Tensor | None]] = {}
        self._changed: set[tuple[int, str]] = set()
        self._checked: set[tuple[int, str]] = set()  # source tensors that were looked at before

    def keep_all(self) -> None:
        """Copy every projection now: before the model is cast or moved, after which its fp32 values are gone."""
        for block in self._blocks:
            for part in block.parts:
                self._own(block.layer, part)

    def _own(self, layer: int, part: str) -> tuple[Tensor, Tensor | None]:
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
        notes: dict[str, None] = {}
        tensors = parameters = 0
        try:
            for layer, source_layer in plan.pairs.items():
                for part in plan.parts:
                    if plan.lams[layer]:
                        written = self._merge_projection(plan, layer, source_layer, part, notes)
                        tensors, parameters = tensors + written[0], parameters + written[1]
        except BaseException:
            self.restore()
            raise
        return MergeReport(tensors, parameters, tuple(notes))

    @torch.no_grad()
    def restore(self) -> None:
        """Put the target's own tensors back, bit for bit."""
        for layer, part in self._changed:
            linear, (weight, bias) = self._blocks[layer].projection(part), self._pristine[layer, part]
            linear.weight.copy_(weight)
            if bias is not None:
                linear.bias.copy_(bias)
        self._changed.clear()

    @torch.no_grad()
    def sources(self, plan: MergePlan) -> dict[tuple[int, str], tuple[Tensor, Tensor | None]]:
        """What takes the source's place at each (target layer, part): weight, and bias where the source has one.

        Raises:
            MergeError: as `apply`.
        """
        made = {}
        for layer, source_layer in plan.pairs.items():
            for part in plan.parts:
                weight, bias = self._own(layer, part)
                given, given_bias = self._given(plan, source_layer, part, weight.shape)
                place, substitute = Place(plan.seed, plan.draw, layer, part), CONTROLS[plan.control].substitute
                own_bias = None if given_bias is None else torch.zeros_like(given_bias) if bias is None else bias
                made[layer, part] = (
                    substitute(given, weight, place),
                    None if given_bias is None or own_bias is None else substitute(given_bias, own_bias, place),
                )
        return made

    def _given(self, plan: MergePlan, source_layer: int, part: str, shape: torch.Size) -> tuple[Tensor, Tensor | None]:
        if CONTROLS[plan.control].layers == "own":
            return self._own(source_layer, part)
        if (source_layer, part) in self._checked:
            return self._read(source_layer, part)
        found = checked_source(self._read, source_layer, part, shape)
        self._checked.add((source_layer, part))
        return found

    def _merge_projection(
        self, plan: MergePlan, layer: int, source_layer: int, part: str, notes: dict[str, None]
    ) -> tuple[int, int]:
        linear = self._blocks[layer].projection(part)
        weight, bias = self._own(layer, part)
        given = self._given(plan, source_layer, part, weight.shape)
        self._changed.add((layer, part))
        new, new_bias, note = merged_projection(plan, layer, part, weight, bias, given)
        linear.weight.copy_(new)
        if new_bias is not None:
            linear.bias.copy_(new_bias)
        if note:
            notes[note] = None
        written = [new] if new_bias is None else [new, new_bias]
        return len(written), sum(changed(plan, tensor) for tensor in written)


def changed(plan: MergePlan, tensor: Tensor) -> int:
    """How many numbers of a merged weight or bias belong to the heads that are merged."""
    share = 1.0 if plan.heads is None else len(plan.heads) * plan.head_width / len(tensor)
    return round(share * tensor.numel())


def merged_projection(
    plan: MergePlan,
    layer: int,
    part: str,
    weight: Tensor,
    bias: Tensor | None,
    source: tuple[Tensor, Tensor | None],
) -> tuple[Tensor, Tensor | None, str | None]:
    """One projection merged as ``plan`` says for ``layer``; its λ is not 0. All tensors fp32.

    Args:
        plan: what is to be merged.
        layer: the target's layer.
        part: ``"q"``, ``"k"``, ``"v"`` or ``"o"``.
        weight: the target's, ``[d, d]``.
        bias: the target's, ``[d]``, None where it has none.
        source: weight and bias of the source.

    Returns:
        The new weight; the new bias, None where none is merged; a note on what was dropped.
    """
    lam, place = plan.lams[layer], Place(plan.seed, plan.draw, layer, part)
    mix = METHODS[plan.method] if lam < 1 else _source_alone
    source_weight, source_bias = source

    def merged(own: Tensor, given: Tensor) -> Tensor:
        new = mix(own, CONTROLS[plan.control].substitute(given, own, place), lam)
        if not is_finite(new):
            raise MergeError(f"layer {layer}, {part}: control={plan.control} made NaN or infinite values of it.")
        return new

    new = _of_heads(plan, part, weight, merged(weight, source_weight))
    if not plan.bias or (part == "o" and plan.heads is not None):  # the output's bias belongs to no head
        return new, None, None
    if bias is None:
        is_dropped = source_bias is not None and bool(merged(torch.zeros_like(source_bias), source_bias).any())
        return new, None, _dropped_bias(part) if is_dropped else None
    note = None
    if source_bias is None:  # a projection without bias is one whose bias is zero
        source_bias = torch.zeros_like(bias)
        note = f"the source's {part.upper()} has no bias: the target's is merged with zero. bias=false leaves it alone"
    return new, _of_heads(plan, part, bias, merged(bias, source_bias)), note


def _of_heads(plan: MergePlan, part: str, own: Tensor, merged: Tensor) -> Tensor:
    """``merged`` where it belongs to one of the plan's heads, else ``own``.

    A head is a block of rows of Q, K and V and of their biases, and of columns of O.
    """
    if plan.heads is None:
        return merged
    chosen = torch.zeros(len(own), dtype=torch.bool)
    for head in plan.heads:
        chosen[head * plan.head_width : (head + 1) * plan.head_width] = True
    if part == "o":
        return torch.where(chosen[None, :], merged, own)
    return torch.where(chosen if own.ndim == 1 else chosen[:, None], merged, own)


def checked_source(read: ReadSource, layer: int, part: str, shape: torch.Size) -> tuple[Tensor, Tensor | None]:
    """One projection of the source. Raises MergeError where it is not of ``shape`` or not finite."""
    weight, bias = finite(read, "source", layer, part)
    if weight.shape != shape or (bias is not None and bias.shape != shape[:1]):
        found = tuple(weight.shape) if bias is None else f"{tuple(weight.shape)} with bias {tuple(bias.shape)}"
        raise MergeError(
            f"source layer {layer}, {part}: is {found}, the target's is {tuple(shape)}."
            " Widths must agree; choose a source as wide as the target."
        )
    return weight, bias


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite. One pass where all is well: such a value makes the sum one too."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def finite(read: ReadSource, side: str, layer: int, part: str) -> tuple[Tensor, Tensor | None]:
    """One projection of either side. Raises MergeError where it has NaN or infinity."""
    weight, bias = read(layer, part)
    for tensor in (weight, bias):
        if tensor is not None and not is_finite(tensor):
            raise MergeError(f"{side} layer {layer}, {part}: has NaN or infinite values. Is the file damaged?")
    return weight, bias


def _source_alone(target: Tensor, source: Tensor, lam: float) -> Tensor:
    """λ=1 of any method: the source, bit for bit."""
    return source


def _dropped_bias(part: str) -> str:
    consequence = "which softmax cancels" if part == "k" else "which the target has no place for"
    return f"the source's {part.upper()} bias is dropped: the target's {part.upper()} has none ({consequence})"


def _copy(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", torch.float32, copy=True)
