"""The plan of a merge, made before any tensor is touched: λ of every layer, pairs of layers, parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mam.merging.by_layer import exchanged, lams_of, paired_layers
from mam.merging.options import MergeOptions, merge_options
from mam.merging.pairing import MEASURED
from mam.merging.selection import parse_heads, parse_parts
from mam.merging.several import Further, shares_of
from mam.merging.shape import Shape
from mam.merging.tables import CONTROLS, METHODS

SEEDS_APART = 1_000_003  # between the seeds of several sources, so that their random controls differ


@dataclass(frozen=True)
class MergePlan:
    """A merge of two models of known shapes.

    Attributes:
        options: The options that the plan was made from.
        target: Shape of the target.
        source: Shape of the source, or of the target itself under ``control=self``; of several sources, of the first.
        lams: One λ per target layer, 0 for layers that are not selected; those of a decoder follow the encoder's if
            ``where`` names it. Several sources share it.
        pairs: The source layer of each selected target layer, ascending.
        parts: The merged tensors; a control may merge fewer than the options name, and so may a layer (`parts_at`).
        heads: The merged heads, or None for all.
        project: The conversion of a source of another width, or None if the widths agree.
        seed: Seed of random controls.
        draw: Number of the draw of a random control or method, from 0.
        partners: The source layer of every target layer, where it was measured.
        further: The second source and those after it.
        by_source: The λ of each of several sources by layer, of which ``lams`` is the sum; empty for one source.
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
    further: tuple[Further, ...] = ()
    by_source: tuple[tuple[float, ...], ...] = ()

    @cached_property
    def each(self) -> tuple[MergePlan, ...]:
        """The merge of each source by itself, with its own share of λ."""
        if not self.further:
            return (self,)
        first = Further(self.source, self.pairs, self.project, self.seed)
        return tuple(
            replace(
                self,
                source=one.shape,
                pairs=one.pairs,
                project=one.project,
                seed=one.seed,
                lams=self.by_source[n],
                further=(),
                by_source=(),
            )
            for n, one in enumerate((first, *self.further))
        )

    @property
    def lams_by_source(self) -> tuple[float, ...]:
        """The λ of every layer for the first source, then for the second, and so on."""
        return tuple(lam for one in self.each for lam in one.lams)

    def at(self, lams_by_source: Sequence[float]) -> MergePlan:
        """Return the merge with other λ, listed as in `lams_by_source`."""
        depth = len(self.lams)
        by_source = tuple(tuple(lams_by_source[n : n + depth]) for n in range(0, len(lams_by_source), depth))
        lams = tuple(map(sum, zip(*by_source, strict=True)))
        return replace(self, lams=lams, by_source=by_source if self.further else ())

    def shared(self, lams: Sequence[float]) -> tuple[float, ...]:
        """Return λ for every layer as in `lams_by_source`, shared by the sources as the options say."""
        return tuple(lam * share for share in shares_of(self.options.shares, 1 + len(self.further)) for lam in lams)

    def shares_at(self, layer: int) -> tuple[float, ...]:
        """Return the share of each source in the λ of a layer; where it is 0, as the options say."""
        if not self.lams[layer]:
            return shares_of(self.options.shares, 1 + len(self.further))
        return tuple(one.lams[layer] / self.lams[layer] for one in self.each)

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
        further = [one.shape for one in self.further]
        plan = plan_merge(self.options, self.target, self.source, self.seed, draw, self.partners, further)
        return replace(plan, lams=self.lams, by_source=self.by_source)


def mismatch_notes(plan: MergePlan) -> tuple[str, ...]:
    """Return how different widths are handled, and a warning if heads do not correspond."""
    if plan.further:
        return tuple(f"source {n}: {note}" for n, one in enumerate(plan.each, 1) for note in mismatch_notes(one))
    notes = []
    target, source = plan.target, plan.source
    if plan.project and target.width != source.width:
        notes.append(
            f"widths differ: the source is projected from {source.width} to the target's {target.width} by"
            f" project={plan.project}"
        )
    if (target.heads, target.head_width) != (source.heads, source.head_width):
        fits = ", head by head" if target.heads == source.heads else "; the shapes agree nevertheless"
        notes.append(
            f"heads differ: the target has {target.heads} heads of {target.head_width}, the source has {source.heads}"
            f" heads of {source.head_width}{fits}"
        )
    return tuple(notes)


def plan_merge(
    options: MergeOptions,
    target: Shape,
    source: Shape,
    seed: int = 0,
    draw: int = 0,
    partners: Mapping[int, int] | None = None,
    further: Sequence[Shape] = (),
) -> MergePlan:
    """Decide which tensors are merged, and how.

    Args:
        options: How the two are merged; the configuration of a run is one.
        target: Shape of the target.
        source: Shape of the source, or of the first of several.
        seed: Seed of random controls.
        draw: Number of the draw of a random control.
        partners: The source layer of every target layer, for a pairing that is measured. A plan without them has
            provisional pairs, and cannot be carried out.
        further: Shapes of the second source and those after it.

    Raises:
        MergeError: Layers, schedule, depths, or sources and their shares do not fit together.
    """
    control = CONTROLS[options.control]
    parts = tuple(part for part in parse_parts(options.parts) if part[0] in control.parts)
    first, *others = (
        _contribution(options, target, shape, number, (seed, draw), partners)
        for number, shape in enumerate((source, *further))
    )
    lams = tuple(lam if layer in first.pairs else 0.0 for layer, lam in enumerate(lams_of(options, target)))
    plan = MergePlan(
        options=merge_options(options),
        target=target,
        source=first.shape,
        lams=lams,
        pairs=first.pairs,
        parts=parts,
        heads=parse_heads(options.heads, target.heads),
        project=first.project,
        seed=seed,
        draw=draw,
        partners=partners if options.pairing in MEASURED else None,
        further=tuple(others),
    )
    return plan.at(plan.shared(lams))


def _contribution(
    options: MergeOptions,
    target: Shape,
    source: Shape,
    number: int,
    random: tuple[int, int],
    partners: Mapping[int, int] | None,
) -> Further:
    """Return what one of several sources contributes; ``random`` is the seed and the draw of random controls."""
    control, (seed, draw) = CONTROLS[options.control], random
    seed = (seed + number * SEEDS_APART) % 2**63
    pairs = paired_layers(options, target, source, partners)
    if control.layers == "shuffled":
        pairs = exchanged(pairs, source, seed, draw)
    is_projected = options.on_mismatch == "project" and source.width != target.width
    shape = target if control.layers == "own" else source
    return Further(shape, pairs, options.project if is_projected else None, seed)
