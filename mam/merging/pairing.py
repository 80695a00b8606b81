"""Pairings of target and source layers, for models of equal or different depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps

from mam.errors import MergeError
from mam.registry import refuse_called, register

Pairing = Callable[[Sequence[int], int, int], dict[int, int]]
PAIRINGS: dict[str, Pairing] = {}


def pairing(function: Pairing) -> Pairing:
    """Register ``function`` under its own name; it maps (selected, target depth, source depth) to target -> source.

    What is registered raises MergeError if a selected layer gets no layer of the source.
    """
    refuse_called("pairing", function)
    name = function.__name__

    @wraps(function)
    def checked(selected: Sequence[int], target_depth: int, source_depth: int) -> dict[int, int]:
        pairs = function(selected, target_depth, source_depth)
        if not isinstance(pairs, dict) or not all(isinstance(layer, int) for layer in pairs.values()):
            raise MergeError(f"pairing={name}: returns {f'{pairs!r}'[:80]}. It must map target layers to source layers")
        return _checked(pairs, selected, source_depth, name)

    register("pairing", name, function, (PAIRINGS, checked), takes="selected, target_depth, source_depth")
    return checked


@pairing
def index(selected: Sequence[int], target_depth: int, source_depth: int) -> dict[int, int]:
    """Target layer i gets source layer i, counted from the input."""
    return {layer: layer for layer in selected}


@pairing
def top(selected: Sequence[int], target_depth: int, source_depth: int) -> dict[int, int]:
    """The last target layer gets the last source layer, and so on, counted from the output."""
    return {layer: layer - target_depth + source_depth for layer in selected}


@pairing
def proportional(selected: Sequence[int], target_depth: int, source_depth: int) -> dict[int, int]:
    """Layer i of L_t gets the layer of the same relative depth: round(i (L_s - 1) / (L_t - 1)), halves to even."""
    if target_depth == 1:
        return dict.fromkeys(selected, source_depth - 1)
    return {layer: round(layer * (source_depth - 1) / (target_depth - 1)) for layer in selected}


@pairing
def similar(selected: Sequence[int], target_depth: int, source_depth: int) -> dict[int, int]:
    """Each layer gets the source layer that is most similar on common inputs (`mam inspect --similarity`).

    This is the pairing until the similarities are measured, which is that of `proportional`.
    """
    return {layer: round(layer * (source_depth - 1) / max(1, target_depth - 1)) for layer in selected}


MEASURED = ("similar",)  # pairings that depend on activations


def _checked(pairs: dict[int, int], selected: Sequence[int], source_depth: int, name: str) -> dict[int, int]:
    unpaired = [layer for layer in selected if not 0 <= pairs.get(layer, -1) < source_depth]
    if unpaired:
        raise MergeError(
            f"pairing={name}: the source has {source_depth} layers, so target layer(s)"
            f" {', '.join(map(str, unpaired))} have no partner. Select fewer layers, or set pairing=proportional"
        )
    return pairs
