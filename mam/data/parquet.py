"""Parquet copies from the Hugging Face Hub: one row per example, with the encoded recording in a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, DatasetDict, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from mam.config.data import HubConfig
from mam.data.listing import Example, Listing
from mam.data.vctk import split_by_speaker
from mam.errors import DataError, choices, first_line

# Prefix of the name of a file, or of a folder above it -> split, following the hub's convention.
_BEGINNINGS = {"train": "train", "dev": "dev", "valid": "dev", "test": "test"}


def download(hub: HubConfig) -> Path:
    """Download the Parquet files of a hub data set at its revision, or find them in the cache.

    Raises:
        DataError: The hub cannot be reached, or has no such data set, revision or files.
    """
    try:
        folder = snapshot_download(str(hub.id), repo_type="dataset", revision=hub.revision, allow_patterns=[hub.files])
    except LocalEntryNotFoundError as error:
        raise DataError(
            f"data.hub.id={hub.id}: the hub cannot be reached or HF_HUB_OFFLINE is set. Go online, fetch it elsewhere"
            f" with `hf download --repo-type dataset {hub.id}`, or say data.source=folder data.root=FOLDER."
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(
            f"data.hub.id={hub.id}: the hub does not give it at revision {hub.revision!r}: {reason}"
        ) from error
    return Path(folder)


def list_parquet(root: Path, hub: HubConfig, name: str) -> tuple[Listing, Dataset]:
    """List the rows of every file below ``root`` that matches ``hub.files``, and map the recordings into memory.

    ``Example.audio`` is the path stored in the recording's cell (or the row's number), ``Example.index`` its row in the
    recordings. The prefix of the file's or folder's name gives the split; VCTK is split by speaker as in its folder
    layout.

    Raises:
        DataError: No file matches, a file is damaged, or a column is missing (the message lists those present).
    """
    files = sorted(path for path in root.glob(hub.files) if path.suffix == ".parquet")
    if not files:
        raise DataError(f"{root}: no Parquet file matches data.hub.files={hub.files}.")
    parts, rows = [], []
    first = 0
    for path in files:
        part = _load(path)
        columns = {key: getattr(hub, key) for key in ("text", "audio", "ids", "speaker", "label", "fold", "origin")}
        needed = {f"data.hub.{key}": column for key, column in columns.items() if column}
        missing = [f"{key}={column}" for key, column in needed.items() if column not in part.column_names]
        if missing:
            raise DataError(
                f"{path}: has no column {' and '.join(missing)}; its columns are: {choices(part.column_names)}."
            )
        part = part.cast_column(hub.audio, Audio(decode=False))
        rows += _rows(part, path, root, hub, first)
        parts.append(part.select_columns([hub.audio]).rename_column(hub.audio, "recording"))
        first += len(part)
    recordings = concatenate_datasets(parts)
    if name == "vctk":  # the copy has both microphones of 0.92; only the first is read, as in the folder
        rows = [row for row in rows if not Path(row.audio).stem.endswith("_mic2")]
        rows, rule = split_by_speaker(rows, "VCTK's Parquet copy")
    elif hub.fold:
        rule = "folds as given"
    else:
        present = sorted({row.split for row in rows if row.split})
        rule = f"as the Parquet files are named: {choices(present)}"
    return Listing(rows, rule), recordings


def _load(path: Path) -> Dataset:
    try:
        loaded: Dataset | DatasetDict = load_dataset("parquet", data_files=str(path), split="train")
    except (DatasetGenerationError, ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({first_line(error)}). Fetch it again.") from error
    return loaded


def _rows(part: Dataset, path: Path, root: Path, hub: HubConfig, first: int) -> list[Example]:
    """Return one row per example of one file; of the audio column only the paths are read."""
    split = _split_in_path(path.relative_to(root))
    paths = part.data.column(hub.audio).combine_chunks().field("path").to_pylist()
    names = (hub.text, hub.ids, hub.speaker, hub.label, hub.origin, hub.fold)
    columns = [[None] * len(part) if name is None else list(part[name]) for name in names]
    rows = []
    for i, (audio, text, example_id, speaker, label, origin, fold) in enumerate(zip(paths, *columns, strict=True)):
        stem = Path(audio).stem if audio else f"{path.stem}-{i}"
        rows.append(
            Example(
                id=str(example_id) if example_id is not None else stem,
                audio=audio or f"{path.name}#{i}",
                text="" if text is None else str(text),
                place=f"{path}, row {i}",
                split=split,
                speaker=None if speaker is None else str(speaker),
                label=None if label is None else str(label),
                origin=None if origin is None else str(origin),
                fold=_number(fold, f"{path}, row {i}, column {hub.fold}"),
                index=first + i,
            )
        )
    return rows


def _split_in_path(path: Path) -> str | None:
    """Return the split whose prefix begins the file's name or else that of the nearest folder above it."""
    for name in (path.name, *(parent.name for parent in path.parents)):
        for prefix, split in _BEGINNINGS.items():
            if name.startswith(prefix):
                return split
    return None


def _number(cell: object, place: str) -> int | None:
    try:
        return None if cell is None else int(str(cell))
    except ValueError as error:
        raise DataError(f"{place}: {cell!r} is not a number.") from error


def recording(recordings: Dataset, index: int) -> bytes:
    """Return the encoded recording in one row; DataError if the cell is empty."""
    cell: dict[str, Any] = recordings[index]["recording"]
    if not cell or not cell.get("bytes"):
        raise DataError(
            f"row {index}: the Parquet file holds no recording, only the path {cell and cell.get('path')!r}"
        )
    return bytes(cell["bytes"])
