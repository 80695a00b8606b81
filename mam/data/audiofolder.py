"""A folder of recordings, with ``metadata.csv`` or ``metadata.jsonl`` or with one folder per class.

The columns are ``file_name``, ``transcription`` (speech) or ``label`` (sounds) and, optionally, ``id, split, speaker,
fold, origin``. Instead of a column ``split`` there may be one folder per split, each with its own metadata. Without
metadata, the name of a recording's folder is its label. The folder above that, if any, is its split or fold
(``fold1``).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mam.data.listing import SPLITS, Example, Listing, data_format, is_blank, lines_of
from mam.errors import DataError, bullets, choices

CONTENT = ("transcription", "label")  # at least one of them is required
OPTIONAL = ("id", "split", "speaker", "fold", "origin")
ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".caf")
SPLIT_NAMES = {"train": "train", "dev": "dev", "validation": "dev", "valid": "dev", "val": "dev", "test": "test"}
DOWNLOAD = (
    "It needs your recordings and a metadata.csv (or metadata.jsonl) with the columns file_name and transcription"
    " (sounds: label); optional: id, split (train, dev, test), speaker, fold, origin. Sounds may also lie in one folder"
    " a class."
)


@data_format("audiofolder", DOWNLOAD)
def list_audiofolder(root: Path) -> Listing:
    """List the rows in the order of the metadata; ``id`` defaults to the file name without its extension.

    Raises:
        DataError: There is no metadata, columns are missing (the message lists those present), or lines are broken (the
            message lists all of them).
    """
    metadata = _metadata(root)
    split_folders = [name for name in SPLIT_NAMES if _metadata(root / name)]
    if metadata and split_folders:
        raise DataError(f"{metadata}: stands beside metadata in {choices(split_folders)}. Keep one kind.")
    folders = [(root, None)] if metadata else [(root / name, split) for name, split in SPLIT_NAMES.items()]
    rows: list[Example] = []
    problems: list[str] = []
    for folder, split in folders:
        path = _metadata(folder)
        if path is None:
            continue
        for place, fields in _records(path, problems):
            prefix = "" if folder == root else f"{folder.name}/"
            row = _row(fields, place, prefix, split, problems)
            if row is not None:
                rows.append(row)
    if problems:
        raise DataError(bullets(problems))
    if not rows and not metadata and not split_folders:
        rows = _labelled_by_folder(root)
    if not rows:
        raise DataError(f"data.root={root}: no metadata with at least one line. {DOWNLOAD}")
    if any(row.fold is not None for row in rows):
        return Listing(rows, "folds as given")
    has_splits = any(row.split for row in rows)
    return Listing(rows, "as the metadata says" if has_splits else "no split: the metadata names none")


def _labelled_by_folder(root: Path) -> list[Example]:
    """List recordings at ``[split or fold/]label/recording``; the error lists recordings found elsewhere."""
    rows, problems = [], []
    recordings = sorted(path for path in root.rglob("*") if path.suffix.lower() in ENDINGS)
    for path in recordings:
        place = path.relative_to(root)
        *parents, label = place.parts[:-1] or ("",)
        fold = re.fullmatch(r"fold[-_ ]?(\d{1,4})", parents[0]) if parents else None
        if not label or len(parents) > 1 or (parents and not fold and parents[0] not in SPLIT_NAMES):
            problems.append(f"{place}: lies in no folder of the form LABEL, SPLIT/LABEL or foldN/LABEL")
            continue
        split = SPLIT_NAMES[parents[0]] if parents and not fold else None
        name = str(place.with_suffix(""))
        rows.append(Example(name, str(place), "", str(path), split, label=label, fold=int(fold[1]) if fold else None))
    if problems:
        raise DataError(f"{bullets(problems[:20])}\nThere is no metadata.csv or metadata.jsonl either. {DOWNLOAD}")
    return rows


def _metadata(folder: Path) -> Path | None:
    paths = [folder / name for name in ("metadata.csv", "metadata.jsonl") if (folder / name).is_file()]
    if len(paths) > 1:
        raise DataError(f"{folder}: has both metadata.csv and metadata.jsonl. Keep one of them.")
    return paths[0] if paths else None


def _records(path: Path, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the fields of each line; invalid lines are added to ``problems``."""
    if path.suffix == ".jsonl":
        for number, line in lines_of(path):
            place = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                record = json.loads(line, object_pairs_hook=_distinct)
                if not isinstance(record, dict):
                    raise ValueError(f"a JSON {type(record).__name__}, not an object")
            except (ValueError, RecursionError) as error:
                problems.append(f"{place}: not a JSON object ({error})")
                continue
            yield place, record
        return
    reader = csv.reader((f"{line}\n" for _, line in lines_of(path)), strict=True)
    try:
        yield from _csv_records(reader, path, problems)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: broken CSV ({error}). Is a quote left open further up?"
        ) from error


def _csv_records(reader: Any, path: Path, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    heading: list[str] = next((fields for fields in reader if not is_blank(fields)), [])
    columns = [name.strip() for name in heading]
    missing = _missing(columns)
    if missing:
        raise DataError(f"{path}: has no column {' and '.join(missing)}; its columns are: {', '.join(columns)}.")
    duplicates = sorted({name for name in columns if columns.count(name) > 1})
    if duplicates:
        raise DataError(f"{path}: has two columns {' and '.join(duplicates)}.")
    for fields in reader:
        place = f"{path}, line {reader.line_num}"
        if is_blank(fields):
            continue
        if len(fields) != len(columns):
            problems.append(f"{place}: {len(fields)} fields instead of {len(columns)} ({','.join(columns)})")
        else:
            yield place, dict(zip(columns, fields, strict=True))


def _missing(names: Iterable[str]) -> list[str]:
    """Return the required fields that are not in ``names``."""
    present = set(names)
    content = [] if present & set(CONTENT) else [" or ".join(CONTENT)]
    return [name for name in ("file_name",) if name not in present] + content


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object from its pairs; ValueError if a key occurs twice."""
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key occurs twice")
    return record


def _row(fields: dict[str, Any], place: str, prefix: str, split: str | None, problems: list[str]) -> Example | None:
    missing = _missing(fields)
    if missing:
        problems.append(f"{place}: no field {' and '.join(missing)}; there are: {', '.join(fields)}")
        return None
    not_text = [name for name in ("file_name", *CONTENT) if not isinstance(fields.get(name, ""), str)]
    not_text += [name for name in OPTIONAL if not isinstance(fields.get(name), str | int | None)]
    if not_text:
        problems.append(f"{place}: {' and '.join(not_text)} must be text")
        return None
    try:
        "".join(str(cell) for cell in fields.values()).encode()
    except UnicodeEncodeError as error:
        problems.append(f"{place}: has characters that are no Unicode text ({error.reason})")
        return None
    values = {
        name: str(fields[name]) for name in ("file_name", *CONTENT, *OPTIONAL) if fields.get(name) not in (None, "")
    }
    split_name = values.get("split", split)
    if split_name is not None and split_name not in SPLIT_NAMES:
        problems.append(f"{place}: split {split_name!r} is not one of: {choices(SPLITS)}")
        return None
    if "file_name" not in values:
        problems.append(f"{place}: file_name is empty")
        return None
    if not values.get("fold", "0").isdecimal():
        problems.append(f"{place}: fold {values['fold']!r} is not a number")
        return None
    return Example(
        id=values.get("id", str(Path(values["file_name"]).with_suffix(""))),
        audio=prefix + values["file_name"],
        text=values.get("transcription", ""),
        place=place,
        split=SPLIT_NAMES[split_name] if split_name else None,
        speaker=values.get("speaker"),
        label=values.get("label"),
        fold=int(values["fold"]) if "fold" in values else None,
        origin=values.get("origin"),
    )
