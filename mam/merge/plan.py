"""What is to be merged, decided before any tensor is touched: λ of every layer, pairs of layers, parts."""

from __future__ import annotations

from dataclasses import dataclass

from mam.config.schema import Config
from mam.merge.controls import CONTROLS, shuffled
from mam.merge.pairing import PAIRINGS
from mam.merge.schedules import SCHEDULES
from mam.merge.selection import parse_heads, parse_layers, parse_parts


@dataclass(frozen=True)
class MergePlan:
    """``lams`` has one λ a target layer, 0 where unselected; ``pairs`` maps each selected layer to its source layer.

    ``heads`` are the heads merged, None where all are, each ``head_width`` wide; ``source_head_width`` is that of the
    source as it was trained. ``project`` is how a source of another width is taken to the target's, None where that is
    an error; ``alpha`` is the method's. ``draw`` counts the draws of a random control from 0.
    """

    method: str
    control: str
    lams: tuple[float, ...]
    pairs: dict[int, int]
    parts: tuple[str, ...]
    pairing: str
    bias: bool
    heads: tuple[int, ...] | None = None
    head_width: int = 1
    target_heads: int = 1
    source_heads: int = 1
    source_head_width: int = 1
    align: str = "none"
    project: str | None = None
    alpha: float = 1.0
    seed: int = 0
    draw: int = 0

    @property
    def layers(self) -> list[int]:
        """The selected target layers, ascending."""
        return list(self.pairs)

    @property
    def first(self) -> int:
        """The first layer whose attention may change: everything before it does not depend on λ."""
        return self.layers[0]

    @property
    def by_layer(self) -> str:
        """λ of every selected layer, in one line."""
        return "λ by layer: " + " ".join(f"{layer}:{self.lams[layer]:.4g}" for layer in self.layers)

    @property
    def is_own(self) -> bool:
        """Whether the target itself takes the source's place."""
        return CONTROLS[self.control].layers == "own"

    def has_bias(self, part: str) -> bool:
        """Whether the bias of a projection is merged with it; that of the output belongs to no head."""
        return self.bias and not (part == "o" and self.heads is not None)

    @property
    def is_identity(self) -> bool:
        """Whether every λ is 0, so that the merged model is the target."""
        return not any(self.lams)


def mismatch_notes(plan: MergePlan) -> tuple[str, ...]:
    """Where the two are of another shape: what is done about widths, and a warning where heads do not correspond."""
    notes = []
    widths = plan.target_heads * plan.head_width, plan.source_heads * plan.source_head_width
    if plan.project and widths[0] != widths[1]:
        notes.append(
            f"widths differ: the source's {widths[1]} are taken to the target's {widths[0]} by project={plan.project}"
        )
    if (plan.target_heads, plan.head_width) != (plan.source_heads, plan.source_head_width):
        target = f"{plan.target_heads} heads of {plan.head_width}"
        source = f"{plan.source_heads} heads of {plan.source_head_width}"
        fits = " head by head" if plan.target_heads == plan.source_heads else "; the shapes fit all the same"
        notes.append(f"heads differ: the target has {target}, the source {source}{fits}")
    return tuple(notes)


def plan_merge(config: Config, target_depth: int, source_depth: int, draw: int = 0) -> MergePlan:
    """Decide from the configuration and the true depths; ``draw`` counts the draws of a random control.

    Raises:
        MergeError: layers, schedule and depths do not fit.
    """
    selected = parse_layers(config.layers.spec, target_depth)
    lams = SCHEDULES[config.schedule.name](config.lam, target_depth, config.schedule)
    control = CONTROLS[config.control]
    shape = config.model.target_shape
    differ = config.model.source_shape.width != shape.width
    theirs = shape if control.layers == "own" else config.model.source_shape
    pairs = PAIRINGS[config.pairing](selected, target_depth, source_depth)
    if control.layers == "own":
        pairs = {layer: (layer + 1) % target_depth for layer in selected}
    elif control.layers == "shuffled":
        order = shuffled(source_depth, config.seed, draw)
        pairs = {layer: order[partner] for layer, partner in pairs.items()}
    return MergePlan(
        method=config.method.name,
        control=config.control,
        lams=tuple(lam if layer in selected else 0.0 for layer, lam in enumerate(lams)),
        pairs=pairs,
        parts=tuple(part for part in parse_parts(config.parts) if part in control.parts),
        pairing=config.pairing,
        bias=config.bias,
        heads=parse_heads(config.heads, shape.heads),
        head_width=shape.width // shape.heads,
        target_heads=shape.heads,
        source_heads=theirs.heads,
        source_head_width=theirs.width // theirs.heads,
        align=config.align,
        project=config.project if config.on_mismatch == "project" and differ else None,
        alpha=config.method.alpha,
        seed=config.seed,
        draw=draw,
    )
