"""A merge that is measured and discarded: what changes in each projection, and warnings about scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mam.merging.adapted_source import AdaptedSources, Read, layer_of
from mam.merging.mixing import Effect, effect, merged_layer, substitutes
from mam.merging.plan import MergePlan
from mam.scoring.wording import counted

SCALES = (0.5, 2.0)  # a source standard deviation outside these multiples of the target's gets a warning


@dataclass(frozen=True)
class ProjectionChange:
    """A tensor that will change: cosine of the two weights, and the standard deviation of each.

    ``shape`` is that of the weight; ``bias`` is true if a bias is merged too. ``place`` and
    ``source_place`` name the layers, as `Shape.place` does. ``source`` is the number of the source, from 1.
    """

    layer: int
    source: int
    source_layer: int
    part: str
    lam: float
    shape: list[int]
    bias: bool
    cosine: float
    target_std: float
    source_std: float
    place: str
    source_place: str

    @property
    def scale(self) -> float | None:
        """Standard deviation of the source over that of the target; None if the target's is 0."""
        return self.source_std / self.target_std if self.target_std else None


class TrialMerge:
    """A merge that is measured and discarded; ``pristine`` and ``largest`` are bytes of target and source."""

    def __init__(self, plan: MergePlan, own: Read, sources: Sequence[Read]) -> None:
        self.read_own = own
        self._plan, self._sources = plan, AdaptedSources(plan, own, sources)
        self._is_kept = [not source.basis.is_identity for source in self._sources.each]
        self.changes: list[ProjectionChange] = []
        self.effects: list[Effect] = []
        self.pristine = self.largest = 0

    def layer(self, layer: int) -> None:
        """Merge one layer. Raises MergeError if the result is not finite."""
        plan = self._plan
        parts = plan.parts_at(layer)
        own, theirs = layer_of(self.read_own, layer, parts), layer_of(self._sources.read, layer, parts)
        merged_layer(plan, layer, own, theirs)
        for part in parts:
            change = effect(plan, layer, part, own[part], theirs[part])
            self.effects.append(change)
            self.pristine += sum(tensor.nbytes for tensor in own[part] if tensor is not None)
            for is_kept, (weight, _) in zip(self._is_kept, theirs[part], strict=True):
                self.largest = self.largest + weight.nbytes if is_kept else max(self.largest, weight.nbytes)
            several = zip(plan.each, substitutes(plan, layer, part, own[part], theirs[part]), strict=True)
            for number, (one, (substitute, _)) in enumerate(several, 1):
                place, weight = (layer, number, part), own[part][0]
                self.changes.append(_projection(one, place, weight, substitute, change.tensors == 2))


def _projection(
    plan: MergePlan, place: tuple[int, int, str], weight: Tensor, theirs: Tensor, bias: bool
) -> ProjectionChange:
    """Compare the weights of one ``place``: layer, number of the source, part."""
    layer, source, part = place
    cosine = torch.nn.functional.cosine_similarity(weight.flatten().double(), theirs.flatten().double(), dim=0)
    return ProjectionChange(
        layer=layer,
        source=source,
        source_layer=plan.pairs[layer],
        part=part,
        lam=plan.lams[layer],
        shape=list(weight.shape),
        bias=bias,
        cosine=round(float(cosine), 6),
        target_std=round(float(weight.std(correction=0)), 6),
        source_std=round(float(theirs.std(correction=0)), 6),
        place=plan.target.place(layer),
        source_place=plan.source.place(plan.pairs[layer]),
    )


def scale_warnings(projections: list[ProjectionChange]) -> list[str]:
    """Return one sentence per part whose scale is far off in some layer, naming the worst layer."""
    warnings = []
    for part in dict.fromkeys(change.part for change in projections):
        scales = {
            change.place: change.scale for change in projections if change.part == part and change.scale is not None
        }
        off = {layer: scale for layer, scale in scales.items() if not SCALES[0] <= scale <= SCALES[1]}
        if off:
            worst = max(off, key=lambda layer: max(off[layer], 1 / max(off[layer], 1e-12)))
            layer = worst if " " in worst else f"layer {worst}"
            warnings.append(
                f"scale: in {layer}, the standard deviation of the source's {part.upper()} is {off[worst]:.2g} × the"
                f" target's ({counted(len(off), 'layer')} outside {SCALES[0]:g} to {SCALES[1]:g} ×)"
            )
    return warnings
