"""The plan of a merge, made before any tensor is touched: λ of every layer, pairs of layers, parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mam.errors import MergeError
from mam.merging.options import MergeOptions, merge_options
from mam.merging.pairing import MEASURED, PAIRINGS
from mam.merging.schedules import SCHEDULES
from mam.merging.selection import parse_heads, parse_layers, parse_parts
from mam.merging.shape import Shape
from mam.merging.tables import CONTROLS, METHODS


@dataclass(frozen=True)
class MergePlan:
    """A merge of two models of known shapes.

    Attributes:
        options: The options that the plan was made from.
        target: Shape of the target.
        source: Shape of the source, or of the target itself under ``control=self``.
        lams: One λ per target layer, 0 for layers that are not selected; those of a decoder follow the encoder's if
            ``where`` names it.
        pairs: The source layer of each selected target layer, ascending.
        parts: The merged tensors; a control may merge fewer than the options name, and so may a layer (`parts_at`).
        heads: The merged heads, or None for all.
        project: The conversion of a source of another width, or None if the widths agree.
        seed: Seed of random controls.
        draw: Number of the draw of a random control or method, from 0.
        partners: The source layer of every target layer, where it was measured.
    """

    options: MergeOptions
    target: Shape
    source: Shape
    lams: tuple[float, ...]
    pairs: dict[int, int]
    parts: tuple[str, ...]
    heads: tuple[int, ...] | None = None
    project: str | None = None
    seed: int = 0
    draw: int = 0
    partners: Mapping[int, int] | None = None

    @property
    def layers(self) -> list[int]:
        """The selected target layers, ascending."""
        return list(self.pairs)

    @property
    def merged_layers(self) -> list[int]:
        """The selected layers whose λ is not 0."""
        return [layer for layer in self.pairs if self.lams[layer]]

    @property
    def first(self) -> int:
        """The first layer of the encoder that may change; everything before it does not depend on λ."""
        return min(self.layers[0], self.target.layers)

    @property
    def by_layer(self) -> str:
        """The λ of every selected layer, in one line."""
        return "λ by layer: " + " ".join(f"{self.target.place(n)}:{self.lams[n]:.4g}" for n in self.layers)

    @property
    def is_own(self) -> bool:
        """True if the target itself takes the source's place."""
        return CONTROLS[self.options.control].layers == "own"

    @property
    def is_provisional(self) -> bool:
        """True if the pairs are to be measured and were not; the real ones may be others."""
        return self.options.pairing in MEASURED and self.partners is None

    @property
    def needs_base(self) -> bool:
        """True if task vectors are merged, the differences of both sides from a base."""
        return METHODS[self.options.method.name].needs_base

    @property
    def is_identity(self) -> bool:
        """True if every λ is 0, so that the merged model is the target."""
        return not any(self.lams)

    def parts_at(self, layer: int) -> tuple[str, ...]:
        """Return the merged tensors of a layer: cross-attention has a norm, but no feed-forward block of its own."""
        cross = self.target.stacks.get("cross")
        if cross is None or layer not in cross.numbers:
            return self.parts
        return tuple(part for part in self.parts if part not in ("f1", "f2", "n2"))

    def has_bias(self, part: str) -> bool:
        """Return whether the bias of a projection is merged with it; that of the output belongs to no head."""
        return self.options.bias and not (part == "o" and self.heads is not None)

    @property
    def draws(self) -> int:
        """The number of merges to evaluate: one, or as many as a random control or method is drawn."""
        is_random = CONTROLS[self.options.control].is_random or METHODS[self.options.method.name].is_random
        return self.options.control_draws if is_random and not self.is_identity else 1

    def drawn(self, draw: int) -> MergePlan:
        """Return the merge with another draw of its random control, which may change the pairs of layers."""
        if draw == self.draw:
            return self
        return plan_merge(self.options, self.target, self.source, self.seed, draw, self.partners)


def mismatch_notes(plan: MergePlan) -> tuple[str, ...]:
    """Return how different widths are handled, and a warning if heads do not correspond."""
    notes = []
    target, source = plan.target, plan.source
    if plan.project and target.width != source.width:
        notes.append(
            f"widths differ: the source's {source.width} are taken to the target's {target.width} by"
            f" project={plan.project}"
        )
    if (target.heads, target.head_width) != (source.heads, source.head_width):
        fits = " head by head" if target.heads == source.heads else "; the shapes fit all the same"
        notes.append(
            f"heads differ: the target has {target.heads} heads of {target.head_width}, the source {source.heads} heads"
            f" of {source.head_width}{fits}"
        )
    return tuple(notes)


def plan_merge(
    options: MergeOptions,
    target: Shape,
    source: Shape,
    seed: int = 0,
    draw: int = 0,
    partners: Mapping[int, int] | None = None,
) -> MergePlan:
    """Decide which tensors are merged, and how.

    Args:
        options: How the two are merged; the configuration of a run is one.
        target: Shape of the target.
        source: Shape of the source.
        seed: Seed of random controls.
        draw: Number of the draw of a random control.
        partners: The source layer of every target layer, for a pairing that is measured. A plan without them has
            provisional pairs, and cannot be carried out.

    Raises:
        MergeError: Layers, schedule and depths do not fit together.
    """
    control = CONTROLS[options.control]
    parts = tuple(part for part in parse_parts(options.parts) if part[0] in control.parts)
    pairs = paired_layers(options, target, source, partners)
    if control.layers == "shuffled":
        pairs = _exchanged(pairs, source, seed, draw)
    lams = lams_of(options, target)
    is_projected = options.on_mismatch == "project" and source.width != target.width
    return MergePlan(
        options=merge_options(options),
        target=target,
        source=target if control.layers == "own" else source,
        lams=tuple(lam if layer in pairs else 0.0 for layer, lam in enumerate(lams)),
        pairs=pairs,
        parts=parts,
        heads=parse_heads(options.heads, target.heads),
        project=options.project if is_projected else None,
        seed=seed,
        draw=draw,
        partners=partners if options.pairing in MEASURED else None,
    )


def lams_of(options: MergeOptions, target: Shape) -> tuple[float, ...]:
    """Return λ of every layer by the schedule, whether or not it is selected; 0 in stacks that are not merged.

    A schedule runs over each stack by itself; the values of ``schedule=list`` run over all that are merged.

    Raises:
        MergeError: The schedule does not fit the depth, or there is no decoder.
    """
    schedule, numbers = SCHEDULES[options.schedule.name], target.layers_of(options.where)
    each = [stack.layers for stack in target.chosen(options.where)]
    depths = [len(numbers)] if "values" in schedule.reads else each
    lams = [lam for depth in depths for lam in schedule(options.lam, depth, options.schedule)]
    by_layer = dict(zip(numbers, lams, strict=True))
    return tuple(by_layer.get(layer, 0.0) for layer in range(max(target.layers, numbers[-1] + 1)))


def selected_layers(options: MergeOptions, target: Shape) -> list[int]:
    """Return the numbers of the selected layers of the target; MergeError as `plan_merge` raises it."""
    stacks = target.chosen(options.where)
    return [stack.first + layer for stack in stacks for layer in parse_layers(options.layers.spec, stack.layers)]


def paired_layers(
    options: MergeOptions, target: Shape, source: Shape, partners: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Return the source layer of each selected layer of the target, before a control exchanges layers.

    Raises:
        MergeError: A layer has no partner, or the control has no other layer to take. For arguments see `plan_merge`.
    """
    control, pairs = CONTROLS[options.control], dict[int, int]()
    for stack in target.chosen(options.where):
        selected = parse_layers(options.layers.spec, stack.layers)
        if control.layers == "own":
            if stack.layers < 2:
                raise MergeError(f"control={options.control}: the target has one layer, there is no other to take")
            pairs |= {stack.first + layer: stack.first + (layer + 1) % stack.layers for layer in selected}
            continue
        partner = source.partner(stack)
        if control.layers == "shuffled" and partner.layers < 2:
            raise MergeError(f"control={options.control}: the source has one layer, there is none to exchange it with")
        others = PAIRINGS[options.pairing](selected, stack.layers, partner.layers)
        if options.pairing in MEASURED and partners is not None:  # before, the pairs are provisional
            others = {layer: partners[layer] for layer in selected}
        for layer, other in others.items():
            pairs[stack.first + layer] = partner.first + (other + options.offset) % partner.layers
    return pairs


def _exchanged(pairs: Mapping[int, int], source: Shape, seed: int, draw: int) -> dict[int, int]:
    """Return pairs whose source layers are exchanged at random within their stacks."""
    from mam.merging.controls import shuffled  # imported here: no other plan needs torch

    exchanged = {}
    for layer, other in pairs.items():
        stack = next(stack for stack in source.stacks.values() if other in stack.numbers)
        exchanged[layer] = stack.first + shuffled(stack.layers, seed, draw)[other - stack.first]
    return exchanged
