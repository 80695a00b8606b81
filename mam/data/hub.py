"""Data sets of the Hugging Face Hub: their rows are streamed once, and kept so that they are not asked for again.

The kept files are in the cache of `datasets` (``$HF_DATASETS_CACHE``), below ``mam``: for each request an Arrow file
with the encoded recordings and the cells as text, and beside it a JSON file, written last, that says what it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Audio, ClassLabel, Dataset, Features, IterableDataset, Value, load_dataset
from datasets import config as settings
from datasets.arrow_writer import ArrowWriter
from huggingface_hub import HfApi, snapshot_download

from mam.config.data import PARQUET_BRANCH, HubConfig
from mam.data.columns import listed
from mam.data.hub_errors import is_offline, translated
from mam.data.hub_files import recording_at
from mam.data.hub_offline import offline
from mam.data.splits import splits_by_name
from mam.errors import DataError, MamError
from mam.files import atomic_path, is_folder, local_path, resolved, sha256_json, write_json
from mam.locks import lock_of
from mam.small_files import read_json

RECORDING, SPLIT, PART = "mam:recording", "mam:split", "mam:part"  # columns beside the data set's own
CELL = {"bytes": Value("binary"), "path": Value("string")}
AT_ONCE = 16  # recordings that are fetched at a time, where each is a file
TIMEOUT = 10  # seconds that the hub has to name a commit


@dataclass(frozen=True)
class Request:
    """The rows that are wanted of a data set.

    Args:
        hub: ``data.hub``.
        audio: ``data.columns.audio``; None for the only column of recordings.
        split: The split that is wanted; None for all of them.
        limit: The number of rows of each of its parts; None for all. Without effect if the set has a column ``whole``.
        whole: The column whose values ``limit`` counts within, so that it needs all rows; "" for none.
    """

    hub: HubConfig
    audio: str | None
    split: str | None
    limit: int | None
    whole: str = ""


@dataclass(frozen=True)
class HubRows:
    """The kept rows: cells as text, ``RECORDING``, and the split and part that a row is from (``SPLIT``, ``PART``).

    ``commit`` is that of the repository. ``splits`` are the parts of each split that were read.
    """

    rows: Dataset
    commit: str
    audio: str
    splits: Mapping[str, list[str]]


def rows_of_hub(request: Request) -> HubRows:
    """Return the rows of a request, from the cache if they were read before.

    Raises:
        DataError: The hub cannot be reached, does not give the data set, or has not what is asked for; or the data set
            has no recordings.
    """
    hub = request.hub
    folder = local_path(str(hub.id))
    place = _Place(str(resolved(folder)), _state_of(folder)) if is_folder(folder) else None
    key = {"request": asdict(request), "state": place and place.commit, "version": 1}
    path = Path(settings.HF_DATASETS_CACHE) / "mam" / f"{sha256_json(key)}.arrow"
    with lock_of(path, other="HF_DATASETS_CACHE to another folder"):
        kept = _kept(path)
        if kept is not None:
            return kept
        with translated(hub):
            _stream(request, place or _on_the_hub(hub), path)
    kept = _kept(path)
    if kept is None:
        raise DataError(f"{path}: cannot be read back. If the disk is full, set HF_DATASETS_CACHE to another folder.")
    return kept


@dataclass(frozen=True)
class _Place:
    """An id or a resolved folder, as `load_dataset` reads it, and the commit or the state of the folder."""

    path: str
    commit: str


def _on_the_hub(hub: HubConfig) -> _Place:
    """Return the data set at its commit, or the copy in the hub's cache if the hub cannot be reached."""
    try:
        info = HfApi().dataset_info(str(hub.id), revision=hub.revision, timeout=TIMEOUT)
        return _Place(str(hub.id), str(info.sha))
    except Exception as error:  # the HTTP libraries' errors have no base in common; all but being offline is raised
        if not is_offline(error):
            raise
        with suppress(Exception):  # no copy, or a damaged one, is the same as none: the error below says what to do
            folder = snapshot_download(str(hub.id), repo_type="dataset", revision=hub.revision, local_files_only=True)
            return _Place(str(resolved(Path(folder))), Path(folder).name)
        raise DataError(offline(hub)) from error


def _state_of(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256_json(
        [[str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    )


def _kept(path: Path) -> HubRows | None:
    """Return what a request left; None if that is missing or damaged."""
    try:
        notes = read_json(path.with_suffix(".json"))
        rows = Dataset.from_file(str(path))
        if len(rows) == notes["rows"]:
            return HubRows(rows, notes["commit"], notes["audio"], notes["splits"])
    except (MamError, OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _stream(request: Request, place: _Place, path: Path) -> None:
    """Write the rows of a request, and then the notes that make them count."""
    hub = request.hub
    named: dict[str, Any] = {"data_dir" if hub.revision == PARQUET_BRANCH else "name": hub.config}
    if not Path(place.path).is_dir():
        named["revision"] = place.commit
    present: dict[str, IterableDataset] = dict(load_dataset(place.path, streaming=True, **named))
    splits = _splits(request, list(present))
    names = [name for names in splits.values() for name in names]
    parts = {name: present[name] if present[name].features else present[name]._resolve_features() for name in names}
    features = parts[names[0]].features
    audio = audio_column(features, request.audio, hub)
    columns = [name for name in features if _is_cell(features[name])]
    limit = None if request.whole in columns else request.limit
    schema = Features({name: Value("string") for name in (*columns, SPLIT, PART)} | {RECORDING: CELL})
    count, has_recordings = 0, False
    with (
        atomic_path(path) as temporary,
        ArrowWriter(features=schema, path=str(temporary), writer_batch_size=100) as writer,
    ):
        for split, name in ((split, name) for split, names in splits.items() for name in names):
            for row in _rows(parts[name], audio, columns, limit, place):
                has_recordings |= bool((row[RECORDING] or {}).get("bytes"))
                writer.write(row | {SPLIT: split, PART: name})
                count += 1
        if not count:
            raise DataError(f"data.hub.id={hub.id}: has no rows in {listed(names)}.")
        if not has_recordings:
            raise DataError(
                f"data.hub.id={hub.id}: its column {audio} has file names but no recordings. Download the recordings,"
                " and read them with data=audiofolder data.root=FOLDER."
            )
        writer.finalize()
    notes = {"rows": count, "commit": place.commit, "audio": audio, "splits": splits, "id": hub.id}
    write_json(path.with_suffix(".json"), notes)


def _splits(request: Request, present: list[str]) -> dict[str, list[str]]:
    """Return the parts to read for each split; those that belong to no split have the key ""."""
    hub = request.hub
    named = {split: name.split("+") for split, name in asdict(hub.split).items() if name}
    unknown = [
        f"data.hub.split.{split}={name}" for split, names in named.items() for name in names if name not in present
    ]
    if unknown:
        raise DataError(
            f"data.hub.id={hub.id}: has no split {' and '.join(unknown)}. Its splits are: {listed(present)}."
        )
    taken = {name for names in named.values() for name in names}
    splits = splits_by_name([name for name in present if name not in taken]) | named
    if request.split is None:
        known = {name for names in splits.values() for name in names}
        rest = [name for name in present if name not in known]
        return splits | ({"": rest} if rest else {})
    if request.split not in splits:
        raise DataError(
            f"data.split={request.split}: {hub.id} has the splits {listed(present)}, none of which has a matching"
            " name. Set"
            f" data.hub.split.{request.split}=NAME, or data.split=all."
        )
    return {request.split: splits[request.split]}


def audio_column(features: Mapping[str, Any], asked: str | None, hub: HubConfig) -> str:
    """Return the column of the recordings: the one asked for, or the only one.

    Raises:
        DataError: It is missing or holds no encoded audio, or there is none or several; the columns are listed.
    """
    place, present = f"data.hub.id={hub.id}", f"its columns are: {listed(list(features))}"
    if asked is not None:
        if asked not in features:
            raise DataError(f"{place}: has no column data.columns.audio={asked}; {present}.")
        if not _is_audio(features[asked]):
            raise DataError(f"{place}: data.columns.audio={asked} has no encoded audio; {present}.")
        return asked
    found = [name for name, feature in features.items() if _is_audio(feature)]
    if not found:
        raise DataError(f"{place}: has no column of audio; {present}. Set data.columns.audio=NAME if one has files.")
    if len(found) > 1:
        raise DataError(
            f"{place}: has several columns of audio, {listed(found)}; {present}. Set data.columns.audio=NAME."
        )
    return found[0]


def _is_audio(feature: Any) -> bool:
    return isinstance(feature, Audio) or (isinstance(feature, dict) and "bytes" in feature)


def _is_cell(feature: Any) -> bool:
    return isinstance(feature, ClassLabel) or (isinstance(feature, Value) and "binary" not in feature.dtype)


def _rows(
    part: IterableDataset, audio: str, columns: Sequence[str], limit: int | None, place: _Place
) -> Iterator[dict[str, Any]]:
    """Yield the first rows: cells as text, and ``RECORDING`` with its bytes wherever the repository has them."""
    features = part.features
    tables = part.with_format("arrow")  # a table of one row for each; as Arrow, recordings stay encoded
    rows = itertools.islice((row for table in tables for row in table.to_pylist()), limit)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while some := list(itertools.islice(rows, AT_ONCE)):
            recordings = pool.map(lambda row: _recording(row.get(audio), place), some)
            for row, recording in zip(some, recordings, strict=True):
                cells = {name: _text(row.get(name), features.get(name)) for name in columns}
                yield {**cells, RECORDING: recording}


def _text(cell: Any, feature: Any) -> str | None:
    if cell is None or (isinstance(feature, ClassLabel) and cell < 0):  # -1: not labelled
        return None
    return str(feature.int2str(cell) if isinstance(feature, ClassLabel) else cell)


def _recording(cell: dict[str, Any] | None, place: _Place) -> dict[str, Any] | None:
    """Return a cell with its bytes, as far as the cell or the repository has them."""
    if cell is None:
        return None
    content, name = cell.get("bytes"), cell.get("path")
    if content or not name:
        return {"bytes": content, "path": name}
    return recording_at(name, place.path, place.commit) or {"bytes": None, "path": name}
