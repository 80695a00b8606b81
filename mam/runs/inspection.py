"""Preview of a merge without data and without loading a model: both attentions, the changes, warnings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from mam.config.schema import Config
from mam.evaluation.fitness import refuse_unfit, refuse_without_activations
from mam.evaluation.language import Forecast, foreseen
from mam.evaluation.model_pair import reader_of, remarks_of
from mam.merging.adapted_source import QKV, AdaptedSource, Read, finite, layer_of
from mam.merging.basis import Heads, LayerPair
from mam.merging.fits import FITS, cosine
from mam.merging.merger import MergeReport
from mam.merging.plan import MergePlan, mismatch_notes
from mam.merging.task_vectors import readers
from mam.models.families import TARGETS
from mam.models.parents import Parents
from mam.models.sources import Source
from mam.runs.merge_files import plan_of_files
from mam.runs.trial_merge import ProjectionChange, TrialMerge, scale_warnings

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
    merge = TrialMerge(plan, read_own, read_sources)
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
            for warning in scale_warnings([change for change in merge.changes if change.source == number])
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
