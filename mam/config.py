"""The schema of a run, as Hydra structured configs, and the checks that need no model and no data.

Importing this module does not import torch: a wrong configuration is answered in a fraction of a second. The names
that a field may take are the keys of the registries of `mam.merge` and `mam.scoring`, which are pure Python too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from mam.errors import MamError, choices
from mam.merge.controls import CONTROLS
from mam.merge.methods import METHODS
from mam.merge.pairing import PAIRINGS
from mam.merge.schedules import SCHEDULES
from mam.merge.selection import PARTS, parse_layers, parse_parts
from mam.scoring.text import NORMALIZERS

DATA_SPLITS = ("train", "dev", "test", "all")
DATA_SOURCES = ("folder", "hub")
CLUSTERS = ("utterance", "speaker", "origin")
ON_BAD = ("stop", "skip")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
TASKS = ("asr", "events")
HEADS = ("probe_fixed", "probe_refit", "checkpoint")


@dataclass
class ShapeConfig:
    """Depth, width and heads of a model as expected; checked against the checkpoint when it is loaded."""

    layers: int = MISSING
    width: int = MISSING
    heads: int = MISSING


@dataclass
class ModelConfig:
    """The pair. ``target`` and ``source`` are hub ids, folders, BEATs files, or ``asset:NAME`` for what mam bundles.

    ``*_sha256``, where given, is what the hash of the weights must be.
    """

    name: str = MISSING
    task: str = "asr"
    target: str = MISSING
    target_revision: str = "main"
    target_sha256: str | None = None
    target_shape: ShapeConfig = field(default_factory=ShapeConfig)
    source: str = MISSING
    source_revision: str = "main"
    source_sha256: str | None = None
    source_shape: ShapeConfig = field(default_factory=ShapeConfig)


@dataclass
class IdsConfig:
    """Files with one id a line that take the place of the format's own split rule."""

    train: str | None = None
    dev: str | None = None
    test: str | None = None


@dataclass
class HubConfig:
    """A Parquet copy on the hub: which files, and what its columns are called; null where there is none."""

    id: str | None = None
    revision: str = "main"
    files: str = "**/*.parquet"
    audio: str = "audio"
    text: str | None = "text"
    ids: str | None = None
    speaker: str | None = None
    label: str | None = None
    fold: str | None = None
    origin: str | None = None


@dataclass
class DataConfig:
    """The data set: a folder in a known format, the split evaluated, and what to do with unusable examples.

    ``clusters`` are what the bootstrap draws; ``note`` is a caveat that stands beside every result on it; ``fold``, of
    audio events, is the only fold tested.
    """

    name: str = MISSING
    format: str = MISSING
    source: str = "folder"
    root: str | None = None
    hub: HubConfig = field(default_factory=HubConfig)
    split: str = "test"
    ids: IdsConfig = field(default_factory=IdsConfig)
    fold: int | None = None
    limit: int | None = None
    on_bad: str = "stop"
    normalizer: str = "hubert_english"
    clusters: str = "utterance"
    note: str = ""


@dataclass
class ScheduleConfig:
    """λ over depth: λ_l = lam · s_l, s by ``name``; ``start``, ``end`` for linear, ``values`` for list."""

    name: str = "constant"
    start: float = 0.0
    end: float = 1.0
    values: list[float] = field(default_factory=list)


@dataclass
class LayersConfig:
    """Which target layers are merged: ``all``, ``odd``, ``even``, ``topN``, ``bottomN``, ``middleN``, ``0-5,9``."""

    spec: str = "all"


@dataclass
class MethodConfig:
    """How two tensors are mixed."""

    name: str = "linear"


@dataclass
class TrainConfig:
    """Fine-tuning; only ``none`` (zero-shot) so far."""

    name: str = "none"


@dataclass
class TuneConfig:
    """How λ is chosen on dev; only ``none`` (``lam`` as given) so far."""

    name: str = "none"


@dataclass
class EvaluateConfig:
    """Packs of at most ``batch_seconds`` padded seconds; the bootstrap; memory for decoded audio and prefix states."""

    batch_seconds: float = 60.0
    draws: int = 10_000
    memory_gb: float = 2.0


@dataclass
class StudyConfig:
    """Several runs that end in one table: every combination of ``axes`` (a key of the configuration to its values)."""

    name: str = "none"
    axes: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class Config:
    """One run (or, with ``study``, a plan of several)."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    lam: float = 0.05
    parts: str = "qkv"
    bias: bool = True
    pairing: str = "index"
    control: str = "none"
    head: str = "probe_fixed"
    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"
    threads: int | None = None
    outputs: str = "outputs"
    cache_dir: str | None = None
    force: bool = False


# What decides where things lie and whether they are done again, not what comes out.
VOLATILE = ("outputs", "cache_dir", "force", "study")

# Strings that hold paths or layer lists; the command line takes them as they are, without Hydra's own quoting.
VERBATIM = (
    "model.target",
    "model.source",
    "data.root",
    "data.ids.",
    "data.hub.files",
    "layers.spec",
    "outputs",
    "cache_dir",
)

ConfigStore.instance().store(name="schema", node=Config)


def problems(config: Config) -> list[str]:
    """Everything that is wrong with a configuration, one sentence each; empty where it is right."""
    found: list[str] = []

    def one_of(key: str, value: str, valid: Any) -> None:
        if value not in valid:
            found.append(f"{key}={value}: not known. Choose one of: {choices(list(valid))}")

    def between(key: str, value: float | None, least: float, most: float) -> None:
        if value is not None and not least <= value <= most:
            found.append(f"{key}={value}: must be from {least:,} to {most:,}".replace(",", " "))

    if not (math.isfinite(config.lam) and 0 <= config.lam <= 1):
        found.append(f"lam={config.lam}: the share of the source must be a number from 0 to 1")
    one_of("pairing", config.pairing, PAIRINGS)
    one_of("control", config.control, CONTROLS)
    one_of("method.name", config.method.name, METHODS)
    one_of("schedule.name", config.schedule.name, SCHEDULES)
    one_of("data.split", config.data.split, DATA_SPLITS)
    one_of("data.on_bad", config.data.on_bad, ON_BAD)
    one_of("data.normalizer", config.data.normalizer, NORMALIZERS)
    one_of("data.clusters", config.data.clusters, CLUSTERS)
    one_of("model.task", config.model.task, TASKS)
    one_of("head", config.head, HEADS)
    one_of("train.name", config.train.name, ("none",))
    one_of("tune.name", config.tune.name, ("none",))
    one_of("device", config.device, DEVICES)
    one_of("dtype", config.dtype, DTYPES)
    between("data.limit", config.data.limit, 1, 10**9)
    between("threads", config.threads, 1, 1024)
    between("seed", config.seed, 0, 2**63)
    between("evaluate.batch_seconds", config.evaluate.batch_seconds, 1, 10**6)
    between("evaluate.draws", config.evaluate.draws, 100, 10**6)
    between("evaluate.memory_gb", config.evaluate.memory_gb, 0, 10**5)
    if config.schedule.values and config.schedule.name != "list":
        found.append("schedule.values: has no effect without schedule=list")
    if (config.schedule.start, config.schedule.end) != (0.0, 1.0) and config.schedule.name != "linear":
        found.append("schedule.start, schedule.end: have no effect without schedule=linear")
    if config.data.split == "all" and any((config.data.ids.train, config.data.ids.dev, config.data.ids.test)):
        found.append("data.ids: has no effect with data.split=all")
    found += _task_problems(config)
    one_of("data.source", config.data.source, DATA_SOURCES)
    if config.data.source == "hub" and config.data.hub.id is None:
        found.append(f"data.hub.id: data={config.data.name} names no copy on the hub. Say data.hub.id=OWNER/NAME")
    if config.data.source == "folder" and config.data.root is None:
        found.append(f"data.root: data={config.data.name} needs a folder. Say data.root=FOLDER")
    try:
        parse_parts(config.parts)
    except MamError as error:
        found.append(str(error))
    return found + _depth_problems(config)


def _task_problems(config: Config) -> list[str]:
    """What has a meaning in only one of the two tasks."""
    data, found = config.data, []
    if config.model.task == "asr":
        if config.head != "probe_fixed":
            found.append("head: has no effect on speech recognition")
        if data.fold is not None:
            found.append("data.fold: has no effect on speech recognition")
    elif config.model.task == "events":
        if data.normalizer != "hubert_english":
            found.append("data.normalizer: has no effect on audio events")
        if any((data.ids.train, data.ids.dev, data.ids.test)):
            found.append("data.ids: has no effect on audio events; name folds or splits in the metadata")
        if data.split == "train" or (data.split == "all" and config.head != "checkpoint"):
            found.append(
                f"data.split={data.split}: a probe is fitted on other clips than it is tested on. Say test or dev"
            )
    return found


def _depth_problems(config: Config) -> list[str]:
    """Layers, schedule and pairing against the depths and widths that the model's configuration states."""
    found: list[str] = []
    target, source = config.model.target_shape, config.model.source_shape
    try:
        selected = parse_layers(config.layers.spec, target.layers)
    except MamError as error:
        return [str(error)]
    if config.schedule.name in SCHEDULES:
        try:
            SCHEDULES[config.schedule.name](config.lam, target.layers, config.schedule)
        except MamError as error:
            found.append(str(error))
    if config.pairing in PAIRINGS:
        try:
            PAIRINGS[config.pairing](selected, target.layers, source.layers)
        except MamError as error:
            found.append(str(error))
    if target.width != source.width:
        found.append(
            f"model: the target is {target.width} wide and the source {source.width}."
            " Widths must agree; choose another source, or mend model.*_shape if they do."
        )
    return found


__all__ = ["PARTS", "VERBATIM", "VOLATILE", "Config", "problems"]
