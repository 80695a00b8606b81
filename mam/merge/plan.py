"""What is to be merged, decided before any tensor is touched: λ of every layer, pairs of layers, parts."""

from __future__ import annotations

from dataclasses import dataclass

from mam.config import Config
from mam.merge.pairing import PAIRINGS
from mam.merge.schedules import SCHEDULES
from mam.merge.selection import parse_layers, parse_parts


@dataclass(frozen=True)
class MergePlan:
    """``lams`` has one λ a target layer, 0 where unselected; ``pairs`` maps each selected layer to its source layer."""

    method: str
    control: str
    lams: tuple[float, ...]
    pairs: dict[int, int]
    parts: tuple[str, ...]
    pairing: str
    bias: bool

    @property
    def layers(self) -> list[int]:
        """The selected target layers, ascending."""
        return list(self.pairs)

    @property
    def first(self) -> int:
        """The first layer whose attention may change: everything before it does not depend on λ."""
        return self.layers[0]

    @property
    def is_identity(self) -> bool:
        """Whether every λ is 0, so that the merged model is the target."""
        return not any(self.lams)


def heads_note(target_heads: int, source_heads: int, width: int) -> tuple[str, ...]:
    """A warning where the two have another number of heads: the shapes fit, the heads do not correspond."""
    if target_heads == source_heads:
        return ()
    target, source = (f"{heads} heads of {width // heads}" for heads in (target_heads, source_heads))
    return (f"heads differ: the target has {target}, the source {source}; the shapes fit all the same",)


def plan_merge(config: Config, target_depth: int, source_depth: int) -> MergePlan:
    """Decide from the configuration and the true depths. Raises MergeError where they do not fit."""
    selected = parse_layers(config.layers.spec, target_depth)
    lams = SCHEDULES[config.schedule.name](config.lam, target_depth, config.schedule)
    return MergePlan(
        method=config.method.name,
        control=config.control,
        lams=tuple(lam if layer in selected else 0.0 for layer, lam in enumerate(lams)),
        pairs=PAIRINGS[config.pairing](selected, target_depth, source_depth),
        parts=parse_parts(config.parts),
        pairing=config.pairing,
        bias=config.bias,
    )
