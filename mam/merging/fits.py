"""The registry of alignments, and how near two layers are to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mam.merging.basis import Basis, Heads, LayerPair
from mam.merging.tables import ALIGNMENTS, AlignmentTraits, summary_of
from mam.registry import refuse_bare, register

Fit = Callable[[Sequence[LayerPair], Heads], Basis]
Distance = Callable[[LayerPair, Heads], float]


@dataclass(frozen=True)
class Alignment:
    """The function of an alignment, and the distance that it minimises."""

    fit: Fit
    distance: Distance


FITS: dict[str, Alignment] = {}  # by the names in ALIGNMENTS


def distance(pair: LayerPair, heads: Heads) -> float:
    """Return ‖W_t - W_s‖ / ‖W_t‖ over Q, K and V of a pair with equal widths."""
    ours, theirs = _flat(pair)
    return float((ours - theirs).norm() / ours.norm())


def cosine(pair: LayerPair) -> float:
    """Return the cosine of the angle between Q, K and V of the target and those of the source; 0 if either is 0."""
    ours, theirs = _flat(pair)
    return float(ours @ theirs / (ours.norm() * theirs.norm()).clamp_min(1e-30))


def alignment(
    needs_heads: bool = False,
    needs_activations: bool = False,
    distance: Distance = distance,
    needs_output: bool = False,
) -> Callable[[Fit], Fit]:
    """Register a function (pairs of equal width, heads) -> basis under its own name.

    The traits of mam's own alignments are in `mam.merging.tables`; plug-ins pass theirs here.
    """

    refuse_bare("alignment", needs_heads)

    def add(function: Fit) -> Fit:
        traits = AlignmentTraits(summary_of(function), needs_heads, needs_activations, needs_output)
        entry = Alignment(function, distance)
        register("align", function.__name__, function, (ALIGNMENTS, traits), (FITS, entry), takes="pairs, heads")
        return function

    return add


def _flat(pair: LayerPair) -> tuple[Tensor, Tensor]:
    ours, theirs = (
        torch.cat([side[part][0].double().flatten() for part in "qkv"]) for side in (pair.target, pair.source)
    )
    return ours, theirs
