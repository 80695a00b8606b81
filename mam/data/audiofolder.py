"""A folder of recordings with metadata tables, or with one folder per class.

The table is ``metadata.csv``, ``.tsv`` or ``.jsonl``, or the one that ``data.metadata`` names. Instead of a column with
the split there may be one table per split (``train.tsv``), or one folder per split, each with its own metadata. Without
metadata, the name of a recording's folder is its label. The folder above that, if any, is its split or fold
(``fold1``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mam.config.data import ColumnsConfig, DataConfig
from mam.data.listing import Example, Listing, data_format, without_ending
from mam.data.splits import SPLIT_NAMES
from mam.data.table_rows import AUDIO_FOLDERS, ENDINGS, rows_of
from mam.data.tables import READERS, read_table
from mam.errors import DataError, bullets, choices
from mam.files import is_file, local_path

SHOWN = 20  # recordings in a message
DOWNLOAD = (
    "It needs your recordings and a metadata.csv (or .tsv or .jsonl) with the columns file_name and transcription"
    " (audio events: label). Optional columns: id, split (train, dev, test), speaker, fold, origin. Set other names"
    " with data.columns, another table with data.metadata. Audio events may also be in one folder per class."
)
Source = tuple[Path, str | None]  # a table, and the split of all its rows or None


@data_format("audiofolder", DOWNLOAD, __doc__)
def list_audiofolder(root: Path, config: DataConfig | None = None) -> Listing:
    """List the rows in the order of the metadata; ``id`` defaults to the file name without its extension.

    Raises:
        DataError: There is no metadata, columns are missing (the message lists those present), or lines are broken (the
            message lists all of them).
    """
    asked = config.columns if config else ColumnsConfig()
    sources = _sources(root, config.metadata if config else None)
    if not sources:
        if asked.asked:
            keys = ", ".join(f"data.columns.{key}" for key in asked.asked)
            raise DataError(f"{keys}: data.root={root} has no metadata, so it has no columns. {DOWNLOAD}")
        rows = _labelled_by_folder(root)
        return _listing(root, rows, "")
    is_named = config is not None and config.metadata is not None
    rows, note = read_sources(sources, asked, root, None if is_named else root)
    return _listing(root, rows, note)


def read_sources(
    sources: Iterable[Source], asked: ColumnsConfig, root: Path, within: Path | None
) -> tuple[list[Example], str]:
    """Return the rows of several tables, and in words which columns were recognised by other names than mam's.

    With ``within``, no table may be a link out of that folder.

    Raises:
        DataError: Columns are missing, or lines are broken; all of them are listed.
    """
    rows: list[Example] = []
    problems: list[str] = []
    said: dict[str, None] = {}
    has_ids = False
    for path, split in sources:
        made, columns = rows_of(read_table(path, problems, within), asked, root, split, problems)
        rows += made
        if columns is not None:
            said |= dict.fromkeys(filter(None, [columns.said(but_for_own_names=True)]))
        has_ids = has_ids or (columns is not None and "id" in columns.names)
    if problems:
        raise DataError(bullets(problems))
    by_path = [without_ending(row.audio) for row in rows]
    if not has_ids and len({row.id for row in rows}) < len(rows) == len(set(by_path)):  # train/1.wav and test/1.wav
        rows = [replace(row, id=name) for row, name in zip(rows, by_path, strict=True)]
        said["ids are the paths"] = None
    return rows, "; ".join(said)


def _listing(root: Path, rows: list[Example], note: str) -> Listing:
    if not rows:
        raise DataError(f"data.root={root}: the metadata has no lines. {DOWNLOAD}")
    if any(row.fold is not None for row in rows):
        return Listing(rows, "folds as in the metadata", note=note)
    has_splits = any(row.split for row in rows)
    return Listing(rows, "splits as in the metadata" if has_splits else "no splits: the metadata has none", note=note)


def _sources(root: Path, metadata: str | None) -> list[Source]:
    """Return the tables of a folder; none if the folder has no metadata."""
    if metadata is not None:
        return [(_named(root, metadata), None)]
    path = _one_of(root, "metadata")
    by_file = [(table, split) for name, split in SPLIT_NAMES.items() if (table := _one_of(root, name))]
    by_folder = [(table, split) for name, split in SPLIT_NAMES.items() if (table := _one_of(root / name, "metadata"))]
    kinds = [kind for kind in ([(path, None)] if path else [], by_file, by_folder) if kind]
    if len(kinds) > 1:
        others = choices([str(table.relative_to(root)) for kind in kinds[1:] for table, _ in kind])
        raise DataError(
            f"{kinds[0][0][0]}: there is also metadata in {others}. Keep only one of them, or set data.metadata=FILE."
        )
    return [*kinds[0]] if kinds else []


def _named(root: Path, metadata: str) -> Path:
    """Return the table that ``data.metadata`` names, relative to ``root`` or to the working directory."""
    path = next((path for path in (root / metadata, local_path(metadata)) if is_file(path)), None)
    if path is None:
        present = choices(tables_in(root))
        raise DataError(
            f"data.metadata={metadata}: there is no such file in {root} or in the working directory. Tables"
            f" in {root}: {present}."
        )
    return path


def tables_in(folder: Path) -> list[str]:
    """Return the names of the tables in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in READERS)


def _one_of(folder: Path, stem: str) -> Path | None:
    paths = [folder / f"{stem}{ending}" for ending in READERS if (folder / f"{stem}{ending}").is_file()]
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise DataError(f"{folder}: has both {names}. Keep one of them, or set data.metadata=FILE.")
    return paths[0] if paths else None


def _labelled_by_folder(root: Path) -> list[Example]:
    """List recordings at ``[split or fold/]label/recording``; the error lists recordings found elsewhere."""
    rows, problems = [], []
    recordings = sorted(path for path in root.rglob("*") if path.suffix.lower() in ENDINGS)
    for path in recordings:
        place = path.relative_to(root)
        *parents, label = place.parts[:-1] or ("",)
        problem = _no_label(label, parents)
        if problem:
            problems.append(f"{place}: {problem}")
            continue
        fold = re.fullmatch(r"fold[-_ ]?(\d{1,4})", parents[0]) if parents else None
        split = SPLIT_NAMES[parents[0]] if parents and not fold else None
        name = str(place.with_suffix(""))
        rows.append(Example(name, str(place), "", str(path), split, label=label, fold=int(fold[1]) if fold else None))
    if problems:
        tables = tables_in(root)
        hint = f" If the metadata is one of these files, set data.metadata={'|'.join(tables)}." if tables else ""
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise DataError(
            f"data.root={root}: there is no metadata.csv, .tsv or .jsonl.{hint} {DOWNLOAD}\nWithout metadata, as for"
            f" audio events, each recording must be in a folder of its class. {bullets([*problems[:SHOWN], *more])}"
        )
    return rows


def _no_label(label: str, parents: Sequence[str]) -> str | None:
    is_fold = bool(parents) and re.fullmatch(r"fold[-_ ]?(\d{1,4})", parents[0]) is not None
    if not label or len(parents) > 1 or (parents and not is_fold and parents[0] not in SPLIT_NAMES):
        return "is not in a folder of the form LABEL, SPLIT/LABEL or foldN/LABEL"
    if label in AUDIO_FOLDERS:
        return f"{label} is a folder of recordings, not a class"
    return None
