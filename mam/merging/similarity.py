"""Similarity of the layers of two models on common inputs, each measured against chance. Pure functions.

Shapes: ``n`` inputs; features ``[n, d]`` of one layer, with any d on either side, fp64.

Both measures are high for features that have nothing to do with each other where n is not much larger than d, so that a
raw value means little. Chance is measured by permuting which input of one model belongs to which of the other; see
arXiv 2602.14486 on how much of such values is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mam.errors import MergeError

PERMUTATIONS = 200
NEIGHBOURS = 10  # at most a fifth of the inputs
FEWEST = 10  # inputs


@dataclass(frozen=True)
class Similarity:
    """The similarity of two layers, from 0 to 1, and its mean under permutations (``chance``)."""

    value: float
    chance: float

    @property
    def calibrated(self) -> float:
        """The value on a scale from 0 (chance) to 1 (equal): (value - chance) / (1 - chance)."""
        return (self.value - self.chance) / max(1e-12, 1 - self.chance)


@dataclass(frozen=True)
class BestLayer:
    """The source layer that is most similar to a target layer, above chance.

    ``p_value`` is the share of permutations in which any source layer is as similar above its own chance: a test of the
    best of all layers.
    """

    layer: int
    source_layer: int
    similarity: Similarity
    p_value: float


@dataclass(frozen=True)
class LayerSimilarities:
    """The similarities on ``n`` inputs, ``table[target layer][source layer]``, and the best of each row."""

    measure: str
    n: int
    table: list[list[Similarity]]
    best: list[BestLayer]


def cka(ours: Tensor, theirs: Tensor) -> Callable[[Tensor], float]:
    """Linear centred kernel alignment: ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) of centred features.

    Kornblith et al., "Similarity of neural network representations revisited", ICML 2019, equation 5.
    """
    one, other = (_centred(features @ features.T) for features in (ours, theirs))
    size = one.norm() * other.norm()
    return lambda order: float((one * other[order][:, order]).sum() / size)


def neighbours(ours: Tensor, theirs: Tensor) -> Callable[[Tensor], float]:
    """Mutual nearest neighbours: the mean share of an input's k nearest ones, by cosine, that both models agree on.

    Huh et al., "The Platonic Representation Hypothesis", ICML 2024, with centred features.
    """
    count = min(NEIGHBOURS, len(ours) // 5)
    near = []
    for features in (ours, theirs):
        unit = torch.nn.functional.normalize(features - features.mean(0), dim=1)
        nearest = (unit @ unit.T).fill_diagonal_(-2).topk(count).indices
        near.append(torch.zeros(len(unit), len(unit), dtype=torch.float64).scatter_(1, nearest, 1.0))
    one, other = near
    return lambda order: float((one * other[order][:, order]).sum() / (count * len(one)))


MEASURES = {"cka": cka, "neighbours": neighbours}


def similarities(ours: Sequence[Tensor], theirs: Sequence[Tensor], seed: int = 0) -> list[LayerSimilarities]:
    """Compare every target layer with every source layer by each measure.

    Args:
        ours: The features of each target layer.
        theirs: Those of each source layer, of the same inputs.
        seed: The seed of the permutations, which are the same for all layers.

    Raises:
        MergeError: There are too few inputs, or a layer has equal features for all of them.
    """
    count = len(ours[0])
    if count < FEWEST:
        raise MergeError(
            f"similarity: needs at least {FEWEST} common inputs, but there are {count}. Raise calibration.limit"
        )
    for side, layers in (("target", ours), ("source", theirs)):
        for number, features in enumerate(layers):
            if (features - features.mean(0)).norm() <= 1e-9 * features.norm().clamp_min(1e-30):
                raise MergeError(
                    f"similarity: layer {number} of the {side} gives the same output for all {count} inputs"
                )
    generator = torch.Generator().manual_seed(seed)
    straight = torch.arange(count)
    orders = [torch.randperm(count, generator=generator) for _ in range(PERMUTATIONS)]
    return [_by(name, ours, theirs, straight, orders) for name in MEASURES]


def _by(
    name: str, ours: Sequence[Tensor], theirs: Sequence[Tensor], straight: Tensor, orders: Sequence[Tensor]
) -> LayerSimilarities:
    table, best = [], []
    for layer, own in enumerate(ours):
        measures = [MEASURES[name](own, other) for other in theirs]
        row = []
        permuted = torch.tensor([[measure(order) for measure in measures] for order in orders], dtype=torch.float64)
        chance = permuted.mean(0)
        for measure, mean in zip(measures, chance.tolist(), strict=True):
            row.append(Similarity(measure(straight), mean))
        table.append(row)
        chosen = max(range(len(row)), key=lambda place: (row[place].calibrated, -place))
        above = ((permuted - chance) / (1 - chance).clamp_min(1e-12)).max(1).values
        as_high = int((above >= row[chosen].calibrated - 1e-12).sum())
        best.append(BestLayer(layer, chosen, row[chosen], (1 + as_high) / (1 + len(orders))))
    return LayerSimilarities(name, len(straight), table, best)


def _centred(gram: Tensor) -> Tensor:
    rows = gram - gram.mean(0)
    return rows - rows.mean(1, keepdim=True)
