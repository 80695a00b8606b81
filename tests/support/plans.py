"""Merges said number by number, for tests of what a plan does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mam.merging.options import MergeOptions, MethodOptions
from mam.merging.plan import MergePlan
from mam.merging.shape import Shape


def plan_by_hand(
    target: Shape,
    source: Shape | None = None,
    lams: Sequence[float] = (),
    pairs: Mapping[int, int] | None = None,
    parts: Sequence[str] = "qkv",
    heads: Sequence[int] | None = None,
    project: str | None = None,
    seed: int = 0,
    draw: int = 0,
    method: str = "linear",
    alpha: float = 0.9,
    density: float = 1.0,
    scale: float = 1.0,
    **options: object,
) -> MergePlan:
    """A plan whose λ, pairs and parts are said, not worked out; λ is 0.1 and each layer pairs with its own number.

    ``source`` has the target's shape where it is not said; ``options`` are fields of `MergeOptions`.
    """
    return MergePlan(
        MergeOptions(method=MethodOptions(method, alpha, density, scale), **options),
        target,
        source or target,
        tuple(lams) or (0.1,) * target.layers,
        dict(pairs) if pairs is not None else {layer: layer for layer in range(target.layers)},
        tuple(parts),
        None if heads is None else tuple(heads),
        project,
        seed,
        draw,
    )
