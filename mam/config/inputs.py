"""What a run is about, as Hydra structured configs: the two models, and the data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import MISSING

from mam.scoring.language_codes import tag_of, whisper_code

AUTO = "auto"  # data.normalizer, data.metric: the one that suits the language


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
    pair needs: the keys of the run that bear these names start from them. ``pretrained_on`` names collections that the
    target's own training took recordings from; a data set from one of them has a caveat. ``language`` and
    ``speech_task`` (transcribe or translate) are what Whisper's decoder is told; null: what the checkpoint says, else
    English for an English-only one, else the language is detected.
    """

    name: str = MISSING
    task: str = "asr"
    pairing: str = "index"
    on_mismatch: str = "error"
    target: str = MISSING
    target_revision: str = "main"
    target_sha256: str | None = None
    language: str | None = None
    speech_task: str = "transcribe"
    target_shape: ShapeConfig = field(default_factory=ShapeConfig)
    pretrained_on: list[str] = field(default_factory=list)
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

    ``clusters`` are the units that a test flips; ``note`` is a caveat that stands beside every result on it, or only
    beside those of targets pre-trained on ``recorded_from``, where that is given; ``page`` is where to get it;
    ``fold``, of audio events, is the only fold tested. ``language`` is that of the references (null: what the decoder
    writes, else that of a CTC vocabulary's letters), from which ``normalizer=auto`` and ``metric=auto`` follow: cer
    where words are not written apart, else wer.
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
    language: str | None = None
    normalizer: str = AUTO
    metric: str = AUTO
    clusters: str = "utterance"
    note: str = ""
    recorded_from: str = ""
    page: str = ""


def read_from(config: ModelConfig | DataConfig) -> dict[str, Any]:
    """Return the fields that say which files are read."""
    apart = ("language", "speech_task", "normalizer", "metric")
    return {key: value for key, value in asdict(config).items() if key not in apart}


def name_languages(plain: dict[str, Any]) -> None:
    """Write languages by their codes in a configuration of plain values, and leave out what nobody said."""
    for key, code in (("model", whisper_code), ("data", tag_of)):
        language = plain[key].pop("language")
        if language is not None and (key, plain["model"]["task"]) != ("data", "events"):
            plain[key]["language"] = code(language)
    if plain["model"]["speech_task"] == "transcribe":
        plain["model"].pop("speech_task")
