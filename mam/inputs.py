"""What a run is about, as Hydra structured configs: the two models, and the data set."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class ShapeConfig:
    """Depth, width and heads of a model as expected; checked against the checkpoint when it is loaded."""

    layers: int = MISSING
    width: int = MISSING
    heads: int = MISSING


@dataclass
class ModelConfig:
    """The pair. ``target`` and ``source`` are hub ids, folders, BEATs files, or ``asset:NAME`` for what mam bundles.

    ``*_sha256``, where given, is what the hash of the weights must be. ``pairing`` and ``on_mismatch`` are what the
    pair needs: the keys of the run that bear these names start from them.
    """

    name: str = MISSING
    task: str = "asr"
    pairing: str = "index"
    on_mismatch: str = "error"
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

    ``clusters`` are what the bootstrap draws; ``note`` is a caveat that stands beside every result on it; ``page`` is
    where to get it; ``fold``, of audio events, is the only fold tested.
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
    page: str = ""
