"""What a merge would do, without data and without loading a model: both attentions, what changes, what to beware of."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mam.config.schema import Config
from mam.evaluation.language import foreseen
from mam.evaluation.model_pair import refuse_unfit, refuse_without_activations, remarks_of
from mam.merge.adapted_source import Given, Read, finite, layer_of
from mam.merge.align import ALIGNMENTS, cosine
from mam.merge.basis import Heads, Pair
from mam.merge.controls import CONTROLS, Place
from mam.merge.methods import Projection as Tensors
from mam.merge.mixing import changed, merged_layer, substituted
from mam.merge.plan import MergePlan, mismatch_notes, plan_merge
from mam.models.checkpoints import Checkpoint
from mam.models.sources import Source
from mam.models.targets import TARGETS

SCALES = (0.5, 2.0)  # a source whose standard deviation is outside these multiples of the target's is warned of
BYTES = 4  # of fp32
QKV = ("q", "k", "v")


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
class Gain:
    """What an alignment did to one layer's Q, K and V together: before, after.

    ``cosine`` is that of target and source; ``distance`` what the alignment makes small, see `mam.merge.align`;
    ``noise`` the cosine that a source of random numbers with the same singular values ends at, aligned alike: what
    an alignment finds in nothing.
    """

    layer: int
    cosine: tuple[float, float]
    distance: tuple[float, float]
    noise: float


@dataclass(frozen=True)
class Inspection:
    """Everything that `mam inspect` says. Memory in bytes, time in seconds. ``control`` replaces the source.

    ``text`` is how a recogniser will write, see `mam.evaluation.language.foreseen`.
    """

    target: Side
    source: Side
    control: str
    align: str
    lam: list[float]
    heads: list[int] | None
    projections: list[Projection]
    gains: list[Gain]
    tensors: int
    parameters: int
    notes: list[str]
    warnings: list[str]
    memory: dict[str, int]
    seconds: dict[str, float]
    text: dict[str, Any] | None

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
    refuse_unfit(config, target, source.checkpoint)
    refuse_without_activations(plan, "inspect")
    text = foreseen(config, target)
    read = partial(finite, own.read, "target")
    given = Given(plan, read, source.read)
    is_kept = not given.basis.is_identity
    notes: dict[str, None] = {}
    projections, tensors, parameters, kept, largest = [], 0, 0, 0, 0
    start = time.perf_counter()
    for layer in plan.layers if not plan.is_identity else ():
        if not plan.lams[layer]:
            continue
        ours, theirs = (layer_of(one, layer, plan.parts) for one in (read, given.read))
        merged, said = merged_layer(plan, layer, ours, theirs)
        notes |= dict.fromkeys(said)
        for part, made in merged.items():
            written = [tensor for tensor in made if tensor is not None]
            tensors, parameters = tensors + len(written), parameters + sum(changed(plan, one) for one in written)
            kept += sum(tensor.nbytes for tensor in ours[part] if tensor is not None)
            theirs_bytes = theirs[part][0].nbytes
            largest = largest + theirs_bytes if is_kept else max(largest, theirs_bytes)
            substitute, _ = substituted(plan, layer, part, ours[part], theirs[part])
            projections.append(_projection(plan, layer, part, ours[part][0], substitute, len(written) == 2))
    spent = time.perf_counter() - start
    memory = {"target": target.parameters * BYTES, "pristine": kept, "source": largest}
    caveats = () if plan.is_identity else TARGETS[target.model_type].caveats(target, plan.parts)
    remarks = remarks_of(config.model, target)
    return Inspection(
        target=_side(own, plan),
        source=_side(source, plan),
        control=plan.control,
        align=plan.align,
        lam=list(plan.lams),
        heads=None if plan.heads is None else list(plan.heads),
        projections=projections,
        gains=_gains(plan, read, source.read),
        tensors=tensors,
        parameters=parameters,
        notes=[*notes],
        warnings=[
            *mismatch_notes(plan),
            *_scale_warnings(projections),
            *caveats,
            *remarks,
            *(text or {}).get("notes", ()),
        ],
        memory=memory | {"together": sum(memory.values())},
        seconds={"read_and_merge": round(spent, 3)},
        text=text,
    )


def _gains(plan: MergePlan, own: Read, source: Read) -> list[Gain]:
    """For each layer, as it is projected and aligned; nothing without an alignment."""
    if plan.align == "none":
        return []
    heads = Heads(plan.target_heads, plan.source_heads, plan.seed)

    def noise(layer: int, part: str) -> Tensors:
        weight, bias = (own if plan.is_own else source)(layer, part)
        return CONTROLS["random_spectrum"].substitute(weight, weight, Place(plan.seed, 0, layer, part)), bias

    before = Given(replace(plan, align="none"), own, source)
    after, found = Given(plan, own, source), []
    drawn = Given(replace(plan, control="none"), own, noise)
    for layer in plan.layers:
        old, new, random = (
            Pair(layer, layer_of(own, layer, QKV), layer_of(one.read, layer, QKV)) for one in (before, after, drawn)
        )
        distances = [ALIGNMENTS[plan.align].distance(one, heads) for one in (old, new)]
        found.append(
            Gain(
                layer,
                (round(cosine(old), 6), round(cosine(new), 6)),
                (round(distances[0], 6), round(distances[1], 6)),
                round(cosine(random), 6),
            )
        )
    return found


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
