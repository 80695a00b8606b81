"""The data set: its location, the evaluated part and the scoring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le
from omegaconf import MISSING
from typing_extensions import Doc

from mam.config.model import language_problem
from mam.scoring.bounds import OneOf
from mam.scoring.language_codes import tag_of
from mam.scoring.text import NORMALIZERS

if TYPE_CHECKING:
    from mam.config.schema import Config

AUTO = "auto"  # value of data.normalizer and data.metric: chosen by the language
DATA_SPLITS = ("train", "dev", "test", "all", "not_dev")
DATA_SOURCES = ("folder", "hub")
CLUSTERS = ("utterance", "speaker", "origin")
METRICS = (AUTO, "wer", "cer")
PARQUET_BRANCH = "refs/convert/parquet"  # the hub's own conversion; its folders are named after configurations
ON_BAD = ("stop", "skip")


@dataclass
class IdsConfig:
    """Files with one id per line that replace the format's own split rule."""

    train: Annotated[str | None, Doc("file with the ids of the training split, one per line")] = None
    dev: Annotated[str | None, Doc("file with the ids of the dev split, one per line")] = None
    test: Annotated[str | None, Doc("file with the ids of the test split, one per line")] = None

    @property
    def is_given(self) -> bool:
        """True if any file is given."""
        return any((self.train, self.dev, self.test))


@dataclass
class HubSplitConfig:
    """Which splits of a hub data set are train, dev and test; null: recognised by their names."""

    train: Annotated[str | None, Doc("the hub's split used as train; join several with +")] = None
    dev: Annotated[str | None, Doc("the hub's split used as dev, on which λ is chosen")] = None
    test: Annotated[str | None, Doc("the hub's split used as test, e.g. test.clean")] = None


@dataclass
class HubConfig:
    """A data set on the hub."""

    id: Annotated[str | None, Doc("data set on the hub, OWNER/NAME, or a folder with a copy of the repository")] = None
    revision: Annotated[str, Doc("branch, tag or commit of the data set")] = "main"
    config: Annotated[str | None, Doc("configuration of the data set, if it has several")] = None
    split: HubSplitConfig = field(default_factory=HubSplitConfig)


@dataclass
class ColumnsConfig:
    """The columns of a folder's metadata or of a hub data set; null: recognised among usual names."""

    audio: Annotated[str | None, Doc("column with the recording: its path (metadata) or its audio (hub)")] = None
    text: Annotated[str | None, Doc("column with the transcript")] = None
    label: Annotated[str | None, Doc("column with the class of the sound")] = None
    id: Annotated[str | None, Doc("column with the id of the example")] = None
    speaker: Annotated[str | None, Doc("column with the speaker")] = None
    split: Annotated[str | None, Doc("column with the split: train, dev or test")] = None
    fold: Annotated[str | None, Doc("column with the number of the fold (audio events)")] = None
    origin: Annotated[str | None, Doc("column with the longer recording or session that the clip was cut from")] = None

    @property
    def asked(self) -> dict[str, str]:
        """The columns that are named."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass
class DataConfig:
    """The data set: a folder in a known format, the evaluated split, and the handling of unusable examples."""

    name: Annotated[str, Doc("name of the data set, for tables")] = MISSING
    format: Annotated[str, Doc("folder layout (mam list formats)")] = MISSING
    source: Annotated[str, OneOf(DATA_SOURCES), Doc("where the data is read from: folder or hub")] = "folder"
    root: Annotated[str | None, Doc("folder with the data")] = None
    metadata: Annotated[
        str | None, Doc("metadata table of an audiofolder (.csv, .tsv or .jsonl), in root or elsewhere")
    ] = None
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    hub: HubConfig = field(default_factory=HubConfig)
    split: Annotated[str, OneOf(DATA_SPLITS), Doc("split to evaluate; not_dev is everything except dev")] = "test"
    ids: Annotated[IdsConfig, Doc("files with one id per line that define the splits")] = field(
        default_factory=IdsConfig
    )
    fold: Annotated[int | None, Ge(0), Le(2**31 - 1), Doc("the only fold to test (audio events); null: every fold")] = (
        None
    )
    limit: Annotated[int | None, Ge(1), Le(10**9), Doc("use only the first N examples")] = None
    on_bad: Annotated[str, OneOf(ON_BAD), Doc("what to do about unusable examples: stop or skip")] = "stop"
    language: Annotated[
        str | None, Doc("language of the references; null: the decoder's, or for CTC the one that the letters indicate")
    ] = None
    normalizer: Annotated[
        str,
        OneOf(NORMALIZERS, also=(AUTO,)),
        Doc("text normalisation of references and hypotheses before scoring; auto: chosen by language"),
    ] = AUTO
    metric: Annotated[
        str, OneOf(METRICS), Doc("metric to compare; auto: cer for languages without spaces between words, else wer")
    ] = AUTO
    clusters: Annotated[str, OneOf(CLUSTERS), Doc("unit of the significance test: utterance, speaker, origin")] = (
        "utterance"
    )
    note: Annotated[str, Doc("caveat shown beside every result")] = ""
    recorded_from: Annotated[
        str, Doc("collection that the data comes from; data.note is then shown only for targets pre-trained on it")
    ] = ""
    page: Annotated[str, Doc("web page of the data set")] = ""


def data_problems(config: Config) -> Iterator[str]:
    """Yield problems with the location of the data, and options without effect in the task."""
    data = config.data
    if data.split == "all" and data.ids.is_given:
        yield "data.ids: has no effect with data.split=all"
    if data.root is not None and not data.root.strip():
        yield "data.root: is empty. Set data.root=FOLDER"
    for key, value in (("data.metadata", data.metadata), ("data.hub.id", data.hub.id), *_columns(data)):
        if value is not None and not value.strip():
            yield f"{key}: is empty. Give a name, or leave it out"
    if data.source == "hub" and data.hub.id is None:
        yield f"data.hub.id: data={data.name} has no data set on the hub. Set data.hub.id=OWNER/NAME"
    if data.source == "hub" and data.hub.revision == PARQUET_BRANCH and data.hub.config is None:
        yield f"data.hub.config: is required with data.hub.revision={PARQUET_BRANCH}. Set data.hub.config=NAME"
    if data.source == "hub" and data.metadata is not None:
        yield "data.metadata: has no effect with data.source=hub"
    if data.source == "folder" and data.root is None:
        yield f"data.root: data={data.name} needs a folder. Set data.root=FOLDER"
    if data.language is not None and tag_of(data.language) is None:
        yield language_problem("data.language", data.language, "language code")
    if config.model.task == "asr":
        if data.fold is not None:
            yield "data.fold: has no effect on speech recognition"
    elif config.model.task == "events":
        yield from _events_problems(config)


def _columns(data: DataConfig) -> Iterator[tuple[str, str]]:
    for key, value in data.columns.asked.items():
        yield f"data.columns.{key}", value


def _events_problems(config: Config) -> Iterator[str]:
    data = config.data
    for key in ("normalizer", "metric"):
        if getattr(data, key) != AUTO:
            yield f"data.{key}: has no effect on audio events"
    if data.ids.is_given:
        yield "data.ids: has no effect on audio events. Give folds or splits in the metadata"
    if data.split in ("train", "not_dev") or (data.split == "all" and config.head != "checkpoint"):
        yield (
            f"data.split={data.split}: the probe needs clips outside the tested split. Set data.split=test or"
            " data.split=dev"
        )
