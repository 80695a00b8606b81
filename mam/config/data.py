"""The data set: where it is, what of it is evaluated, and how it is scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le
from omegaconf import MISSING

from mam.config.model import language_problem
from mam.scoring.bounds import OneOf
from mam.scoring.language_codes import tag_of
from mam.scoring.text import NORMALIZERS

if TYPE_CHECKING:
    from mam.config.schema import Config

AUTO = "auto"  # data.normalizer, data.metric: the one that suits the language
DATA_SPLITS = ("train", "dev", "test", "all", "not_dev")
DATA_SOURCES = ("folder", "hub")
CLUSTERS = ("utterance", "speaker", "origin")
METRICS = (AUTO, "wer", "cer")
ON_BAD = ("stop", "skip")


@dataclass
class IdsConfig:
    """Files with one id a line that take the place of the format's own split rule."""

    train: str | None = None
    dev: str | None = None
    test: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether any of them is named."""
        return any((self.train, self.dev, self.test))


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

    Attributes:
        name: of the data set, for tables.
        format: a registered folder layout.
        source: ``folder`` or ``hub``.
        root: the folder.
        hub: the copy on the hub.
        split: what is evaluated; ``not_dev`` is everything but dev.
        ids: files that say which examples a split has.
        fold: of audio events, the only fold tested.
        limit: the first so many examples.
        on_bad: ``stop`` or ``skip`` at an unusable example.
        language: of the references; null: what the decoder writes, else that of a CTC vocabulary's letters.
        normalizer: a registered normalizer; auto: the one that suits target and language.
        metric: what is compared; auto: cer where words are not written apart, else wer.
        clusters: the units that a test flips.
        note: a caveat that stands beside every result.
        recorded_from: where given, the caveat is only for targets pre-trained on that collection.
        page: where to get the data set.
    """

    name: str = MISSING
    format: str = MISSING
    source: Annotated[str, OneOf(DATA_SOURCES)] = "folder"
    root: str | None = None
    hub: HubConfig = field(default_factory=HubConfig)
    split: Annotated[str, OneOf(DATA_SPLITS)] = "test"
    ids: IdsConfig = field(default_factory=IdsConfig)
    fold: int | None = None
    limit: Annotated[int | None, Ge(1), Le(10**9)] = None
    on_bad: Annotated[str, OneOf(ON_BAD)] = "stop"
    language: str | None = None
    normalizer: Annotated[str, OneOf(NORMALIZERS, also=(AUTO,))] = AUTO
    metric: Annotated[str, OneOf(METRICS)] = AUTO
    clusters: Annotated[str, OneOf(CLUSTERS)] = "utterance"
    note: str = ""
    recorded_from: str = ""
    page: str = ""


def data_problems(config: Config) -> Iterator[str]:
    """Yield what is wrong with where the data are, and what means nothing in the task."""
    data = config.data
    if data.split == "all" and data.ids.is_given:
        yield "data.ids: has no effect with data.split=all"
    if data.root is not None and not data.root.strip():
        yield "data.root: is empty. Give a folder"
    if data.source == "hub" and data.hub.id is None:
        yield f"data.hub.id: data={data.name} names no copy on the hub. Say data.hub.id=OWNER/NAME"
    if data.source == "folder" and data.root is None:
        yield f"data.root: data={data.name} needs a folder. Say data.root=FOLDER"
    if data.language is not None and tag_of(data.language) is None:
        yield language_problem("data.language", data.language, "language code")
    if config.model.task == "asr":
        if data.fold is not None:
            yield "data.fold: has no effect on speech recognition"
    elif config.model.task == "events":
        yield from _events_problems(config)


def _events_problems(config: Config) -> Iterator[str]:
    data = config.data
    for key in ("normalizer", "metric"):
        if getattr(data, key) != AUTO:
            yield f"data.{key}: has no effect on audio events"
    if data.ids.is_given:
        yield "data.ids: has no effect on audio events; name folds or splits in the metadata"
    if data.split in ("train", "not_dev") or (data.split == "all" and config.head != "checkpoint"):
        yield f"data.split={data.split}: a probe is fitted on other clips than it is tested on. Say test or dev"
