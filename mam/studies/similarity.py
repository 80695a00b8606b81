"""A test of whether the similarity of two layers predicts the effect of merging one into the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mam.config.merging import merges_nothing
from mam.studies.execute import Member

if TYPE_CHECKING:  # it imports torch, without which a finished study is shown
    from mam.merging.similarity import LayerSimilarities

EXACT = 20_000  # orders up to which all are tried
DRAWS = 10_000  # random orders otherwise


@dataclass(frozen=True)
class Prediction:
    """The correlation of a measure of similarity with the effect of merging, within target layers.

    Attributes:
        measure: ``cka`` or ``neighbours``, above chance.
        layers: The number of target layers into which several source layers were merged, each by itself.
        merges: The number of pairs of a target layer and a source layer.
        correlation: Pearson's r of similarity and change of the rate, both minus their mean over the source layers of
            a target layer. It is negative if more similar layers do less harm.
        p_value: The two-sided p of a permutation of similarities within target layers.
    """

    measure: str
    layers: int
    merges: int
    correlation: float
    p_value: float


def predictions_by_similarity(members: Sequence[Member], similarities: Sequence[LayerSimilarities]) -> list[Prediction]:
    """Correlate ``similarities`` of layers with the effects of merging single ones, for each measure.

    Target layers differ in how much any merge harms them, so that source layers are compared within each. The change
    of a pair of layers is averaged over the λ at which it was merged. Empty if no target layer was merged with several
    source layers.
    """
    changes: dict[tuple[int, int], list[float]] = {}
    for member in members:
        config = member.job.config
        if member.outcome is None or config.control != "none" or merges_nothing(config):
            continue
        merge, delta = member.outcome.result.merge, member.outcome.result.delta
        if len(merge.merged_layers) == 1 and delta is not None:
            (layer,) = merge.merged_layers
            changes.setdefault((layer, merge.pairs[str(layer)]), []).append(delta.absolute)
    found = []
    for by_measure in similarities:
        by_layer: dict[int, list[tuple[float, float]]] = {}
        for (layer, other), deltas in changes.items():
            similarity = by_measure.table[layer][other].calibrated
            by_layer.setdefault(layer, []).append((similarity, float(np.mean(deltas))))
        several = [np.array(points) for points in by_layer.values() if len(points) > 1]
        if several:
            r, p = within(several)
            found.append(Prediction(by_measure.measure, len(several), sum(map(len, several)), r, p))
    return found


def within(groups: Sequence[NDArray[np.float64]], seed: int = 0) -> tuple[float, float]:
    """Return Pearson's r of two quantities within groups, and its two-sided p by permutation within groups.

    Args:
        groups: ``[n, 2]`` each. Each column is centred within its group, and all are pooled.
        seed: The seed of random orders. All orders are tried if there are at most `EXACT`.

    Returns:
        r and p; r is 0 and p 1 if either quantity does not vary within any group.
    """
    centred = [group - group.mean(0) for group in groups]
    size = float(np.prod([np.sqrt(sum((group[:, side] ** 2).sum() for group in centred)) for side in (0, 1)]))
    if size < 1e-15:
        return 0.0, 1.0
    observed = sum(float(group[:, 0] @ group[:, 1]) for group in centred)
    count = prod(factorial(len(group)) for group in centred)
    if count <= EXACT:
        by_group = [
            [group[list(order), 0] @ group[:, 1] for order in permutations(range(len(group)))] for group in centred
        ]
        sums = np.array([sum(parts) for parts in product(*by_group)])
        p = float((np.abs(sums) >= abs(observed) - 1e-12).mean())
    else:
        rng = np.random.default_rng(seed)
        sums = np.array([sum(rng.permutation(group[:, 0]) @ group[:, 1] for group in centred) for _ in range(DRAWS)])
        p = float((1 + (np.abs(sums) >= abs(observed) - 1e-12).sum()) / (1 + DRAWS))
    return observed / size, p
