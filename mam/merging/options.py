"""All options of a merge; every other list of these options is derived from the fields here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from mam.merging.pairing import MEASURED, PAIRINGS
from mam.merging.schedules import SCHEDULES
from mam.merging.shape import WHERE
from mam.merging.tables import ALIGNMENTS, CONTROLS, METHODS, PROJECTS, REPAIRS
from mam.scoring.bounds import OneOf, Share

RESOLVED = {"resolved": True}  # marks options that a record stores in the form resolved for the pair of models


Real = Annotated[float, Ge(-1e6), Le(1e6)]


@dataclass
class ScheduleOptions:
    """How λ depends on depth; see `mam.merging.schedules`."""

    name: Annotated[str, OneOf(SCHEDULES), Doc("how λ depends on depth")] = "constant"
    start: Annotated[Real, Doc("λ at the first layer, as a fraction of lam (linear)")] = 0.0
    end: Annotated[Real, Doc("λ at the last layer, as a fraction of lam (linear)")] = 1.0
    values: Annotated[list[float], Doc("one λ per target layer (list)")] = field(default_factory=list)
    alpha: Annotated[Real, Doc("at the first layer: the exponent (power) or λ itself (lines)")] = 1.0
    beta: Annotated[Real, Doc("what is added to alpha from the first layer to the last (power, lines)")] = 1.0
    center: Annotated[Real, Doc("index of the layer with the largest λ (gaussian)")] = 0.0
    width: Annotated[float, Ge(1e-3), Le(1e6), Doc("standard deviation, in layers (gaussian)")] = 1.0


@dataclass
class LayerOptions:
    """The target layers to merge: ``all``, ``odd``, ``even``, ``topN``, ``bottomN``, ``middleN``, ``0-5,9``."""

    spec: Annotated[
        str, Doc("target layers to merge: all, odd, even, topN, bottomN, middleN, or indices such as 0-5,9")
    ] = "all"


@dataclass
class Calibration:
    """The inputs on which a method or an alignment measures activations, at most ``limit`` per model."""

    audio: Annotated[
        str, Doc("recordings for calibration, used without labels: train (the training split) or a folder")
    ] = "train"
    source: Annotated[
        str | None,
        Doc("inputs for the source: a text file with one sentence per line, or a folder of images or audio"),
    ] = None
    limit: Annotated[int, Ge(1), Le(10**6), Doc("maximum number of calibration inputs per model")] = 64


@dataclass
class MethodOptions:
    """How two layers are mixed; `mam.merging.tables.MethodTraits.reads` lists the keys that each method uses."""

    name: Annotated[str, OneOf(METHODS), Doc("how a target layer and a source layer are mixed")] = "linear"
    alpha: Annotated[Share, Doc("factor on the off-diagonal entries of the activation moments (regmean)")] = 0.9
    density: Annotated[
        float,
        Gt(0),
        Le(1),
        Doc("fraction of a task vector's entries to keep: the largest (ties) or random ones (dare)"),
    ] = 1.0
    scale: Annotated[float, Ge(0), Le(100), Doc("factor on the merged task vector (task_arithmetic, ties, dare)")] = 1.0


METHOD_KEYS = frozenset(option.name for option in fields(MethodOptions)) - {"name"}  # parameters of methods


@dataclass
class MergeOptions:
    """The options of a merge, without the λ per layer and the pairs of layers, which depend on the models' depths."""

    lam: Annotated[
        Share,
        Doc("λ, the share of the source, from 0 (target unchanged) to 1 (attention replaced); several sources: a list"),
    ] = field(default=0.05, metadata=RESOLVED)
    shares: Annotated[
        list[float],
        Doc("how several sources divide λ; empty: equally. lam=[0.05,0.02] sets lam and shares at once"),
    ] = field(default_factory=list, metadata=RESOLVED)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions, metadata=RESOLVED)
    layers: LayerOptions = field(default_factory=LayerOptions, metadata=RESOLVED)
    method: MethodOptions = field(default_factory=MethodOptions)
    where: Annotated[
        str,
        OneOf(WHERE),
        Doc("layers to merge if there is a decoder: encoder, decoder (self-attention), cross (cross-attention), all"),
    ] = "encoder"
    parts: Annotated[
        str,
        Doc("tensors to merge: any of q, k, v, o (output projection), f (feed-forward layers) and n (norms)"),
    ] = field(default="qkv", metadata=RESOLVED)
    bias: Annotated[bool, Doc("whether to merge the biases of these tensors too")] = True
    heads: Annotated[
        str, Doc("target heads to merge: all, or indices such as 0-3,5 (output biases are then left unmerged)")
    ] = field(default="all", metadata=RESOLVED)
    pairing: Annotated[
        str,
        OneOf(PAIRINGS),
        Doc(
            "which source layer goes into which target layer: index, top, proportional, similar; model= sets the"
            " default"
        ),
    ] = "index"
    offset: Annotated[
        int, Ge(0), Le(10_000), Doc("number of layers by which the paired source layers are shifted, wrapping around")
    ] = 0
    align: Annotated[
        str,
        OneOf(ALIGNMENTS),
        Doc("how the source is aligned with the target before merging"),
    ] = "none"
    on_mismatch: Annotated[
        str,
        OneOf(("error", "project")),
        Doc(
            "what to do if widths differ: error, or project (the source to the target's width); model= sets the default"
        ),
    ] = field(default="error", metadata=RESOLVED)
    project: Annotated[
        str, OneOf(PROJECTS), Doc("method of projection if on_mismatch=project: svd, procrustes, random")
    ] = field(default="procrustes", metadata=RESOLVED)
    control: Annotated[
        str,
        OneOf(CONTROLS),
        Doc("control: what is merged in place of the source, to test whether its content matters"),
    ] = "none"
    control_draws: Annotated[
        int,
        Ge(5),
        Le(1000),
        Doc("number of draws of a random control; the confidence interval includes their variation"),
    ] = field(default=5, metadata=RESOLVED | {"needs_data": True})
    repair: Annotated[
        str,
        OneOf(REPAIRS),
        Doc("rescaling after merging: none, or logits (restores the target's spread of logits and size of values)"),
    ] = "none"
    calibration: Annotated[
        Calibration,
        Doc("inputs on which activations are measured, for regmean, procrustes_activations and repair"),
    ] = field(default_factory=Calibration, metadata=RESOLVED)


OPTION_NAMES = tuple(option.name for option in fields(MergeOptions))
# Verbs that evaluate nothing draw a control only once.
FILE_OPTION_NAMES = tuple(option.name for option in fields(MergeOptions) if not option.metadata.get("needs_data"))


def merge_options(config: MergeOptions) -> MergeOptions:
    """Return only the merge options of an object with further fields, such as the configuration of a run."""
    return MergeOptions(**{name: getattr(config, name) for name in OPTION_NAMES})


def unresolved(options: MergeOptions, but_for: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the options that a record does not store in resolved form, as plain values.

    The others, such as λ and layers, are compared in the form that was resolved for the pair of models.
    """
    names = [option.name for option in fields(MergeOptions) if not option.metadata.get("resolved")]
    plain = asdict(options)
    return {name: plain[name] for name in names if name not in but_for}


def activation_choices(options: MergeOptions) -> dict[str, str]:
    """Return the choices of a merge that need activations, each with one in its place that does not."""
    needs = {
        ("method", options.method.name, "linear"): METHODS[options.method.name].needs_moments,
        ("align", options.align, "procrustes"): ALIGNMENTS[options.align].needs_activations,
        ("repair", options.repair, "none"): options.repair != "none",
        ("pairing", options.pairing, "proportional"): options.pairing in MEASURED,
    }
    return {f"{key}={name}": f"{key}={other}" for (key, name, other), is_needed in needs.items() if is_needed}
