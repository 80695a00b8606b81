"""Refusals of methods and alignments that are not defined for a pair of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mam.config.merging import plan_of
from mam.config.model import further_shapes, shapes
from mam.config.schema import Config
from mam.errors import MergeError, UnfitError
from mam.merging.options import activation_choices
from mam.merging.pairing import MEASURED
from mam.merging.plan import MergePlan
from mam.merging.selection import ATTENTION
from mam.merging.tables import ALIGNMENTS, CONTROLS, METHODS
from mam.models.checkpoints import Checkpoint
from mam.models.parents import Parents
from mam.models.sources import Source

if TYPE_CHECKING:
    from mam.models.targets import Target


def refuse_unfit(config: Config, parents: Parents) -> None:
    """Raise UnfitError if method or alignment are not defined for the target and one of the sources.

    Some need equal numbers of heads on both sides, some a target in which nothing else reads Q, some a source that
    takes the target's input, some a common ancestor of both.
    """
    if parents.base is not None:
        _refuse_unrelated(config, parents.target, parents.source, parents.base)
    for number, source in enumerate(parents.sources):
        _refuse_unfit_source(config, number, parents.target, source)


def _refuse_unfit_source(config: Config, number: int, target: Checkpoint, source: Checkpoint) -> None:
    """Raise UnfitError as `refuse_unfit` does for one of the sources, the first of which is number 0."""
    is_own, alignment = CONTROLS[config.control].layers == "own", ALIGNMENTS[config.align]
    ours, *each = *shapes(config.model), *further_shapes(config.model)
    theirs = ours if is_own else each[number]
    heads = f"the target has {ours.heads} heads and the source {theirs.heads}"
    differ = ours.heads != theirs.heads
    if alignment.needs_heads and differ:
        raise UnfitError(
            f"align={config.align}: needs equally many heads, but {heads}. Set align=procrustes or permute"
        )
    if alignment.needs_activations and not is_own and source.model_type not in _targets():
        modality = Source(source).family.modality
        raise UnfitError(
            f"align={config.align}: both models must have the same kind of input, but {source.id} reads {modality}."
            " Set align=procrustes, which compares weights"
        )
    if alignment.needs_activations and CONTROLS[config.control].is_drawn_first:
        raise UnfitError(
            f"align={config.align}: control={config.control} replaces the source with noise, which has no"
            " activations. Set align=procrustes, which compares weights"
        )
    if not set(config.parts) <= ATTENTION:
        _refuse_other_widths(plan_of(config).each[number], target, source)
    if config.where != "encoder":
        _refuse_other_heads(target, source)
    if config.pairing in MEASURED:
        refuse_no_common_inputs(config, source)
    if METHODS[config.method.name].joins_qk:
        if differ:
            raise UnfitError(f"method={config.method.name}: needs equally many heads, but {heads}. Set method=linear")
        family = _targets().get(target.model_type)
        reader = None if family is None else family.reads_query(target)
        if reader:
            raise UnfitError(
                f"method={config.method.name}: changes the basis of Q and K, so {reader}, which is computed from Q,"
                f" would no longer work ({target.id}). Set method=linear"
            )


def _refuse_other_heads(target: Checkpoint, source: Checkpoint) -> None:
    """Raise UnfitError if a decoder has another number of heads than its encoder, which `Shape` does not hold."""
    for checkpoint in (target, source):
        heads = checkpoint.config.get("decoder_attention_heads")
        if Source(checkpoint).shape.decoder and heads != Source(checkpoint).heads:
            raise UnfitError(
                f"where: the decoder of {checkpoint.id} has {heads} heads, but its encoder has"
                f" {Source(checkpoint).heads}."
                " Set where=encoder"
            )


def _refuse_other_widths(plan: MergePlan, target: Checkpoint, source: Checkpoint) -> None:
    """Raise UnfitError if parts beside attention have other shapes in the source, or MergeError if one has none."""
    ours = Source(target)
    theirs = ours if plan.is_own else Source(source)
    for layer, other in plan.pairs.items():
        for part in plan.parts_at(layer):
            sides = [(side.checkpoint, side.place(n, part)) for side, n in ((ours, layer), (theirs, other))]
            own, given = (checkpoint.headers[f"{place.name}.weight"][0] for checkpoint, place in sides)
            if own != given and part not in ATTENTION:
                raise UnfitError(
                    f"parts={plan.options.parts}: the shape of {part} in layer {layer} is {given} in the source and"
                    f" {own} in the"
                    f" target. They must agree. Leave {part[0]} out"
                )


def refuse_no_common_inputs(config: Config, source: Checkpoint) -> None:
    """Raise UnfitError if the source takes nothing that corresponds to the recordings."""
    modality = Source(source).family.modality
    if modality == "image":
        raise UnfitError(
            f"similarity: {source.id} reads images, and there are none that match recordings. Set pairing=proportional"
        )
    if modality == "text" and config.calibration.audio != "train":
        raise UnfitError(
            f"similarity: {source.id} reads text, but the recordings of calibration.audio={config.calibration.audio}"
            " have no transcripts. Set calibration.audio=train"
        )


def _refuse_unrelated(config: Config, target: Checkpoint, source: Checkpoint, base: Checkpoint) -> None:
    """Raise UnfitError if ``base`` cannot be what target and source were fine-tuned from."""
    method = f"method={config.method.name}"
    ours, theirs = shapes(config.model)
    if ours != theirs:
        raise UnfitError(
            f"{method}: target and source cannot have a common ancestor, since their shapes differ ({ours}; {theirs})."
            " Set method=linear"
        )
    shape = Source(base).shape
    if shape != ours:
        raise UnfitError(
            f"model.base={base.id}: its shape ({shape}) differs from that of target and source ({ours}). Give the"
            " checkpoint that both were"
            " fine-tuned from"
        )
    for role, other in (("target", target), ("source", source)):
        if other.fingerprint == base.fingerprint:
            raise UnfitError(
                f"model.base={base.id}: is the {role} itself, so its task vector would be zero. Give the checkpoint"
                " that both were fine-tuned from"
            )


def refuse_without_activations(plan: MergePlan, verb: str) -> None:
    """Raise MergeError if the plan's method or alignment needs more than files."""
    for word, other in activation_choices(plan.options).items():
        if word.startswith("pairing=") and not plan.is_provisional:
            continue  # the partners were measured beforehand
        raise MergeError(
            f"{word}: needs activations, but mam {verb} runs no models. Use mam run and mam export, or {other}"
        )


def _targets() -> dict[str, type[Target]]:
    from mam.models.families import TARGETS  # imported here: few options need it, and it imports torch

    return TARGETS
