"""Every option that says how two models are merged. What lists the options elsewhere is derived from these fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated

from annotated_types import Ge, Le

from mam.merge.pairing import PAIRINGS
from mam.merge.schedules import SCHEDULES
from mam.merge.tables import ALIGNMENTS, CONTROLS, METHODS, PROJECTS
from mam.scoring.bounds import OneOf, Share


@dataclass
class ScheduleOptions:
    """How λ depends on depth, see `mam.merge.schedules`: ``start``, ``end`` for linear, ``values`` for list, and so on.

    Attributes:
        name: a registered schedule.
        start: of linear: the share of ``lam`` at the first layer.
        end: of linear: the share of ``lam`` at the last layer.
        values: of list: λ of every target layer.
        alpha: of power the exponent, of lines λ at the first layer.
        beta: what is added to ``alpha`` from the first layer to the last.
        center: of gaussian: the layer with the largest λ.
        width: of gaussian: standard deviation in layers.
    """

    name: Annotated[str, OneOf(SCHEDULES)] = "constant"
    start: float = 0.0
    end: float = 1.0
    values: list[float] = field(default_factory=list)
    alpha: float = 1.0
    beta: float = 1.0
    center: float = 0.0
    width: float = 1.0


@dataclass
class LayerOptions:
    """Which target layers are merged: ``all``, ``odd``, ``even``, ``topN``, ``bottomN``, ``middleN``, ``0-5,9``."""

    spec: str = "all"


@dataclass
class Calibration:
    """Inputs on which a method or an alignment measures activations, ``limit`` of each side at most.

    Attributes:
        audio: for the target: ``train`` (the recordings of the data set's training split, without their labels) or a
            folder of recordings.
        source: for the source, of its own modality: a text file with a sentence a line, or a folder of images or
            recordings.
        limit: largest number of inputs of each side.
    """

    audio: str = "train"
    source: str | None = None
    limit: Annotated[int, Ge(1), Le(10**6)] = 64


@dataclass
class MethodOptions:
    """How two layers are mixed. ``alpha``, of regmean, is the share of the moments' off-diagonal that is kept."""

    name: Annotated[str, OneOf(METHODS)] = "linear"
    alpha: Share = 0.9


@dataclass
class MergeOptions:
    """How two models are merged; all of it but λ by layer and pairs of layers, which depend on their depths.

    Attributes:
        lam: share of the source, 0 to 1, scaled by the schedule.
        schedule: how λ depends on depth.
        layers: which target layers are merged.
        method: how two layers are mixed.
        parts: which projections are merged: letters of ``qkvo``.
        bias: whether biases are merged with the weights.
        heads: which attention heads are merged: ``all``, or numbers and ranges such as ``0-3,5``.
        pairing: which source layer feeds which target layer.
        align: how the source is moved into the target's basis first.
        on_mismatch: what happens to a source of another width: ``error`` or ``project``.
        project: how such a source is taken to the target's width.
        control: what takes the source's place; ``none``: nothing.
        control_draws: how often a random control is drawn.
        calibration: inputs for methods and alignments that need activations.
    """

    lam: Share = 0.05
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    layers: LayerOptions = field(default_factory=LayerOptions)
    method: MethodOptions = field(default_factory=MethodOptions)
    parts: str = "qkv"
    bias: bool = True
    heads: str = "all"
    pairing: Annotated[str, OneOf(PAIRINGS)] = "index"
    align: Annotated[str, OneOf(ALIGNMENTS)] = "none"
    on_mismatch: Annotated[str, OneOf(("error", "project"))] = "error"
    project: Annotated[str, OneOf(PROJECTS)] = "procrustes"
    control: Annotated[str, OneOf(CONTROLS)] = "none"
    control_draws: Annotated[int, Ge(5), Le(1000)] = field(default=5, metadata={"needs_data": True})
    calibration: Calibration = field(default_factory=Calibration)


OPTION_NAMES = tuple(one.name for one in fields(MergeOptions))
# A verb that evaluates nothing draws a control once.
FILE_OPTION_NAMES = tuple(one.name for one in fields(MergeOptions) if not one.metadata.get("needs_data"))


def merge_options(config: MergeOptions) -> MergeOptions:
    """Return the merge options alone of something that has further fields, such as a run's configuration."""
    return MergeOptions(**{name: getattr(config, name) for name in OPTION_NAMES})


def differing(options: MergeOptions, but_for: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the options as plain values, without those named in ``but_for``."""
    return {name: value for name, value in asdict(options).items() if name not in but_for}
