"""What a merge would do, without data and without loading a model: both attentions, what changes, what to beware of."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mam.config import Config
from mam.merge.apply import changed, checked_source, finite, merged_projection
from mam.merge.controls import CONTROLS, Place
from mam.merge.plan import MergePlan, heads_note, plan_merge
from mam.models.checkpoints import Checkpoint
from mam.models.sources import Source
from mam.models.targets import TARGETS

SCALES = (0.5, 2.0)  # a source whose standard deviation is outside these multiples of the target's is warned of
BYTES = 4  # of fp32


@dataclass(frozen=True)
class Side:
    """One model's attention, and how many parameters the whole checkpoint has. ``attention`` is its class."""

    id: str
    model_type: str
    attention: str
    modality: str
    layers: int
    width: int
    heads: int
    head_width: int
    biases: str
    parameters: int


@dataclass(frozen=True)
class Projection:
    """One projection that will change: cosine of the two weights, standard deviations, source's over target's.

    ``shape`` is the weight's; ``bias`` whether a bias is merged with it.
    """

    layer: int
    source_layer: int
    part: str
    lam: float
    shape: list[int]
    bias: bool
    cosine: float
    target_std: float
    source_std: float

    @property
    def scale(self) -> float | None:
        """Standard deviation of the source over that of the target, None where the target's is 0."""
        return self.source_std / self.target_std if self.target_std else None


@dataclass(frozen=True)
class Inspection:
    """Everything that `mam inspect` says. Memory in bytes, time in seconds. ``control`` replaces the source."""

    target: Side
    source: Side
    control: str
    lam: list[float]
    heads: list[int] | None
    projections: list[Projection]
    tensors: int
    parameters: int
    notes: list[str]
    warnings: list[str]
    memory: dict[str, int]
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        plain = asdict(self)
        for row, projection in zip(plain["projections"], self.projections, strict=True):
            row["scale"] = projection.scale
        return plain


def inspect(config: Config, target: Checkpoint, source: Source) -> Inspection:
    """Read Q, K, V (and O where it is asked for) of both, compare them, and merge them once to see what changes.

    Raises:
        MergeError, CheckpointError: the two do not fit, or a tensor is not finite.
    """
    own = Source(target)
    plan = plan_merge(config, own.layers, source.layers)
    given = own if CONTROLS[plan.control].layers == "own" else source
    notes: dict[str, None] = {}
    projections, tensors, parameters, kept, largest = [], 0, 0, 0, 0
    start = time.perf_counter()
    for layer, source_layer in plan.pairs.items():
        for part in plan.parts if plan.lams[layer] else ():
            weight, bias = finite(own.read, "target", layer, part)
            theirs = checked_source(given.read, source_layer, part, weight.shape)
            new, new_bias, note = merged_projection(plan, layer, part, weight, bias, theirs)
            notes |= {note: None} if note else {}
            written = [new] if new_bias is None else [new, new_bias]
            tensors, parameters = tensors + len(written), parameters + sum(changed(plan, one) for one in written)
            kept += weight.nbytes + (0 if bias is None else bias.nbytes)
            largest = max(largest, theirs[0].nbytes)
            substitute = CONTROLS[plan.control].substitute(theirs[0], weight, Place(plan.seed, 0, layer, part))
            projections.append(_projection(plan, layer, part, weight, substitute, new_bias is not None))
    spent = time.perf_counter() - start
    memory = {"target": target.parameters * BYTES, "pristine": kept, "source": largest}
    caveats = () if plan.is_identity else TARGETS[target.model_type].caveats(target, plan.parts)
    return Inspection(
        target=_side(own, plan),
        source=_side(source, plan),
        control=plan.control,
        lam=list(plan.lams),
        heads=None if plan.heads is None else list(plan.heads),
        projections=projections,
        tensors=tensors,
        parameters=parameters,
        notes=[*notes],
        warnings=[*heads_note(own.heads, source.heads, own.width), *_scale_warnings(projections), *caveats],
        memory=memory | {"together": sum(memory.values())},
        seconds={"read_and_merge": round(spent, 3)},
    )


def _projection(plan: MergePlan, layer: int, part: str, weight: Tensor, theirs: Tensor, bias: bool) -> Projection:
    cosine = torch.nn.functional.cosine_similarity(weight.flatten().double(), theirs.flatten().double(), dim=0)
    return Projection(
        layer=layer,
        source_layer=plan.pairs[layer],
        part=part,
        lam=plan.lams[layer],
        shape=list(weight.shape),
        bias=bias,
        cosine=round(float(cosine), 6),
        target_std=round(float(weight.std(correction=0)), 6),
        source_std=round(float(theirs.std(correction=0)), 6),
    )


def _scale_warnings(projections: list[Projection]) -> list[str]:
    """One sentence a part whose scale is far off in some layer; the worst layer is named."""
    found = []
    for part in dict.fromkeys(one.part for one in projections):
        scales = {one.layer: one.scale for one in projections if one.part == part and one.scale is not None}
        off = {layer: scale for layer, scale in scales.items() if not SCALES[0] <= scale <= SCALES[1]}
        if off:
            worst = max(off, key=lambda layer: max(off[layer], 1 / max(off[layer], 1e-12)))
            found.append(
                f"scale: the source's {part.upper()} is {off[worst]:.2g} × as spread as the target's in layer"
                f" {worst} ({len(off)} layers are outside {SCALES[0]:g} to {SCALES[1]:g} ×)"
            )
    return found


def _side(side: Source, plan: MergePlan) -> Side:
    parts = [part for part in "qkvo" if part in side.places[0]]
    with_bias = [part for part in parts if side.read(0, part)[1] is not None]
    return Side(
        id=side.checkpoint.id,
        model_type=side.checkpoint.model_type,
        attention=side.attention_class,
        modality=side.family.modality,
        layers=side.layers,
        width=side.width,
        heads=side.heads,
        head_width=side.width // side.heads,
        biases="".join(with_bias) or "none",
        parameters=side.checkpoint.parameters,
    )
