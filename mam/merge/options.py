"""All options of a merge; every other list of these options is derived from the fields here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc

from mam.merge.pairing import PAIRINGS
from mam.merge.schedules import SCHEDULES
from mam.merge.tables import ALIGNMENTS, CONTROLS, METHODS, PROJECTS
from mam.scoring.bounds import OneOf, Share

RESOLVED = {"resolved": True}  # marks options that a record stores in the form resolved for the pair of models


@dataclass
class ScheduleOptions:
    """The dependence of λ on depth; see `mam.merge.schedules`."""

    name: Annotated[str, OneOf(SCHEDULES), Doc("how λ depends on depth")] = "constant"
    start: Annotated[float, Doc("of linear: share of lam at the first layer")] = 0.0
    end: Annotated[float, Doc("of linear: share of lam at the last layer")] = 1.0
    values: Annotated[list[float], Doc("of list: λ of every target layer")] = field(default_factory=list)
    alpha: Annotated[float, Doc("exponent of power, λ of lines at the first layer")] = 1.0
    beta: Annotated[float, Doc("what is added to alpha from the first layer to the last")] = 1.0
    center: Annotated[float, Doc("of gaussian: the layer with the largest λ")] = 0.0
    width: Annotated[float, Doc("of gaussian: standard deviation in layers")] = 1.0


@dataclass
class LayerOptions:
    """The target layers to merge: ``all``, ``odd``, ``even``, ``topN``, ``bottomN``, ``middleN``, ``0-5,9``."""

    spec: Annotated[str, Doc("all, odd, even, topN, bottomN, middleN, or numbers and ranges such as 0-5,9")] = "all"


@dataclass
class Calibration:
    """The inputs on which a method or an alignment measures activations, at most ``limit`` per side."""

    audio: Annotated[str, Doc("recordings, labels are not read: the training split of the data, or a folder")] = "train"
    source: Annotated[
        str | None,
        Doc("of the source's modality: a text file with a sentence a line, a folder of images or recordings"),
    ] = None
    limit: Annotated[int, Ge(1), Le(10**6), Doc("of each at most")] = 64


@dataclass
class MethodOptions:
    """The method that mixes two layers; regmean keeps the share ``alpha`` of the moments' off-diagonal."""

    name: Annotated[str, OneOf(METHODS), Doc("how two layers are mixed")] = "linear"
    alpha: Annotated[Share, Doc("of regmean: share of the moments' off-diagonal that is kept")] = 0.9


@dataclass
class MergeOptions:
    """The options of a merge, without the λ by layer and the pairs of layers, which depend on the models' depths."""

    lam: Annotated[
        Share, Doc("λ, the share of the source, from 0 (target unchanged) to 1 (its attention replaced)")
    ] = field(default=0.05, metadata=RESOLVED)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions, metadata=RESOLVED)
    layers: LayerOptions = field(default_factory=LayerOptions, metadata=RESOLVED)
    method: MethodOptions = field(default_factory=MethodOptions)
    parts: Annotated[str, Doc("which projections are merged: any of q, k, v and o (the output projection)")] = field(
        default="qkv", metadata=RESOLVED
    )
    bias: Annotated[bool, Doc("merge their biases too")] = True
    heads: Annotated[
        str, Doc("which heads of the target: all, or 0-3,5; output biases belong to no head and are then left")
    ] = field(default="all", metadata=RESOLVED)
    pairing: Annotated[
        str,
        OneOf(PAIRINGS),
        Doc("which source layer feeds which target layer: index (unless model= says another), top, proportional"),
    ] = "index"
    align: Annotated[
        str,
        OneOf(ALIGNMENTS),
        Doc("the source in the target's basis first: heads, procrustes, procrustes_activations, permute"),
    ] = "none"
    on_mismatch: Annotated[
        str,
        OneOf(("error", "project")),
        Doc("widths that differ: error (unless model= says another), project (the source to the target's width)"),
    ] = field(default="error", metadata=RESOLVED)
    project: Annotated[str, OneOf(PROJECTS), Doc("how: svd, procrustes, random")] = field(
        default="procrustes", metadata=RESOLVED
    )
    control: Annotated[
        str,
        OneOf(CONTROLS),
        Doc(
            "in place of the source: shrink, shrink_qk, shrink_v, add, random_iid, random_spectrum, rotate,"
            " shuffle_layers, self"
        ),
    ] = "none"
    control_draws: Annotated[
        int, Ge(5), Le(1000), Doc("how often a random control is drawn; the spread between draws enters the interval")
    ] = field(default=5, metadata=RESOLVED | {"needs_data": True})
    calibration: Annotated[
        Calibration, Doc("where activations are measured, for method=regmean and align=procrustes_activations")
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
