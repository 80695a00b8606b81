"""Preview of a merge without data and without loading a model: both attentions, the changes, warnings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mam.config.schema import Config
from mam.evaluation.fitness import refuse_unfit, refuse_without_activations
from mam.evaluation.language import Forecast, foreseen
from mam.evaluation.model_pair import reader_of, remarks_of
from mam.merging.adapted_source import QKV, AdaptedSource, AdaptedSources, Read, finite, layer_of
from mam.merging.basis import Heads, LayerPair
from mam.merging.fits import FITS, cosine
from mam.merging.merger import MergeReport
from mam.merging.mixing import Effect, effect, merged_layer, substitutes
from mam.merging.plan import MergePlan, mismatch_notes
from mam.merging.task_vectors import readers
from mam.models.families import TARGETS
from mam.models.parents import Parents
from mam.models.sources import Source
from mam.runs.merge_files import plan_of_files

SCALES = (0.5, 2.0)  # a source standard deviation outside these multiples of the target's gets a warning
BYTES = 4  # per fp32 value


@dataclass(frozen=True)
class ModelSummary:
    """The attention of one model, and the number of parameters of the whole checkpoint. ``attention`` is its class.

    ``decoder`` is the number of decoder layers, 0 without a decoder.
    """

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
    decoder: int


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


@dataclass(frozen=True)
class AlignmentGain:
    """The effect of an alignment on one layer's Q, K and V together, as pairs (before, after).

    Attributes:
        layer: of the target.
        source: the number of the source, from 1.
        cosine: of target and source.
        distance: the quantity that the alignment minimises, see `mam.merging.align`.
        noise: cosine after aligning a random source with the same singular values, as a reference level.
    """

    layer: int
    source: int
    cosine: tuple[float, float]
    distance: tuple[float, float]
    noise: float


@dataclass(frozen=True)
class Inspection:
    """The output of `mam inspect`. Memory in bytes, time in seconds. ``control`` replaces the source.

    ``further`` are the second source and those after it. With a ``base``, the projections are compared as task vectors,
    the differences of both sides from it.
    ``text`` is the forecast of a recogniser's output, see `mam.evaluation.language.foreseen`.
    """

    target: ModelSummary
    source: ModelSummary
    further: list[ModelSummary]
    base: str | None
    control: str
    align: str
    lam: list[float]
    heads: list[int] | None
    projections: list[ProjectionChange]
    gains: list[AlignmentGain]
    tensors: int
    parameters: int
    notes: list[str]
    warnings: list[str]
    memory: dict[str, int]
    seconds: dict[str, float]
    text: Forecast | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for ``--json``."""
        plain = asdict(self)
        for row, projection in zip(plain["projections"], self.projections, strict=True):
            row["scale"] = projection.scale
        if plain["text"] is not None:
            plain["text"]["from"] = plain["text"].pop("origin")
        return plain


def inspect(config: Config, parents: Parents, partners: Mapping[int, int] | None = None) -> Inspection:
    """Read the merged parts of both, compare them, and merge them once to find the changes.

    ``partners`` has the source layer of every target layer, for a pairing that is measured.

    Raises:
        MergeError, CheckpointError: the two do not fit, or a tensor is not finite.
    """
    target = parents.target
    own, sources = Source(target), [Source(checkpoint) for checkpoint in parents.sources]
    plan = plan_of_files(config, parents, partners)
    refuse_unfit(config, parents)
    refuse_without_activations(plan, "inspect")
    text = foreseen(config, target)
    reads = [source.read for source in sources]
    read_own, read_sources = readers(plan, partial(finite, own.read, "target"), reads, reader_of(parents.base))
    merge = _TrialMerge(plan, read_own, read_sources)
    start = time.perf_counter()
    for layer in plan.merged_layers:
        merge.layer(layer)
    elapsed = time.perf_counter() - start
    report = MergeReport.of(merge.effects)
    memory = {"target": target.parameters * BYTES, "pristine": merge.pristine, "source": merge.largest}
    caveats = () if plan.is_identity else TARGETS[target.model_type].caveats(target, plan.parts)
    warnings = [
        *mismatch_notes(plan),
        *(
            (f"source {number}: " if plan.further else "") + warning
            for number in range(1, 1 + len(sources))
            for warning in _scale_warnings([change for change in merge.changes if change.source == number])
        ),
        *caveats,
        *remarks_of(config.model, target),
        *(() if text is None else text.notes),
    ]
    return Inspection(
        target=_summary(own),
        source=_summary(sources[0]),
        further=[_summary(source) for source in sources[1:]],
        base=None if parents.base is None else parents.base.id,
        control=plan.options.control,
        align=plan.options.align,
        lam=list(plan.lams),
        heads=None if plan.heads is None else list(plan.heads),
        projections=merge.changes,
        gains=[
            gain
            for number, (one, read) in enumerate(zip(plan.each, reads, strict=True), 1)
            for gain in _gains(one, merge.read_own, read, number)
        ],
        tensors=report.tensors,
        parameters=report.parameters,
        notes=list(report.notes),
        warnings=warnings,
        memory=memory | {"together": sum(memory.values())},
        seconds={"read_and_merge": round(elapsed, 3)},
        text=text,
    )


class _TrialMerge:
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


def _gains(plan: MergePlan, own: Read, source: Read, number: int) -> list[AlignmentGain]:
    """Return the gain of each layer, as projected and aligned; empty without an alignment."""
    align = plan.options.align
    if align == "none":
        return []
    heads = Heads(plan.target.heads, plan.source.heads, plan.seed)

    before = AdaptedSource(replace(plan, options=replace(plan.options, align="none")), own, source)
    after = AdaptedSource(plan, own, source)
    drawn = AdaptedSource(replace(plan, options=replace(plan.options, control="aligned_random")), own, source)
    gains = []
    for layer in plan.layers:
        old, new, random = (
            LayerPair(layer, layer_of(own, layer, QKV), layer_of(adapted.read, layer, QKV))
            for adapted in (before, after, drawn)
        )
        distance = FITS[align].distance
        gains.append(
            AlignmentGain(
                layer,
                number,
                (round(cosine(old), 6), round(cosine(new), 6)),
                (round(distance(old, heads), 6), round(distance(new, heads), 6)),
                round(cosine(random), 6),
            )
        )
    return gains


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


def _scale_warnings(projections: list[ProjectionChange]) -> list[str]:
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
                f"scale: the source's {part.upper()} is {off[worst]:.2g} × as spread as the target's in {layer}"
                f" ({len(off)} layers are outside {SCALES[0]:g} to {SCALES[1]:g} ×)"
            )
    return warnings


def _summary(side: Source) -> ModelSummary:
    parts = [part for part in "qkvo" if part in side.places[0]]
    with_bias = [part for part in parts if side.read(0, part)[1] is not None]
    return ModelSummary(
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
        decoder=side.shape.decoder,
    )
