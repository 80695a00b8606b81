"""From a table of metadata to examples: cells checked, recordings found in the folder."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from mam.config.data import ColumnsConfig
from mam.data.columns import Columns, find_columns, listed, unrecognised
from mam.data.listing import SPLITS, Example, without_ending
from mam.data.splits import SPLIT_NAMES
from mam.data.tables import Table
from mam.errors import DataError, choices

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".caf")
AUDIO_FOLDERS = ("clips", "wavs", "wav", "audio", "recordings")  # hold recordings, and are no class of sounds


def rows_of(
    table: Table, asked: ColumnsConfig, root: Path, split: str | None, problems: list[str]
) -> tuple[list[Example], Columns | None]:
    """Return one example for each row of a table, and which columns they are from; None if the table has no row.

    Recordings are looked for below ``root`` and below the table's own folder if that lies in ``root``. Rows that are
    unusable are added to ``problems``.

    Raises:
        DataError: Columns are missing; the message lists those present.
    """
    if not table.columns:
        return [], None
    columns = find_columns(asked, table.columns, str(table.path))
    names = columns.names
    missing = ["audio"] * ("audio" not in names) + ["text or label"] * ("text" not in names and "label" not in names)
    if missing:
        raise DataError(unrecognised(str(table.path), missing, table.columns))
    find = _finder(root, table.path.parent)
    rows = [_row(fields, place, names, find, split, problems) for place, fields in table.rows]
    return [row for row in rows if row is not None], columns


def _row(
    fields: dict[str, Any], place: str, names: Any, find: Any, split: str | None, problems: list[str]
) -> Example | None:
    absent = [names[kind] for kind in ("audio",) if names[kind] not in fields]
    content = [names[kind] for kind in ("text", "label") if kind in names]
    if not any(name in fields for name in content):
        absent.append(" or ".join(content))
    if absent:
        problems.append(f"{place}: has no field {' and '.join(absent)}. Its fields are: {listed(list(fields))}")
        return None
    cells = {kind: fields.get(name) for kind, name in names.items()}
    not_text = [names[kind] for kind in ("audio", "text") if not isinstance(cells.get(kind), str | None)]
    not_text += [names[kind] for kind, cell in cells.items() if not isinstance(cell, str | int | None)]
    if not_text:
        problems.append(f"{place}: {' and '.join(dict.fromkeys(not_text))} must be text")
        return None
    try:
        "".join(str(cell) for cell in fields.values()).encode()
    except UnicodeEncodeError as error:
        problems.append(f"{place}: has invalid Unicode characters ({error.reason})")
        return None
    values = {kind: str(cell) for kind, cell in cells.items() if cell not in (None, "")}
    name, split_name = values.get("audio"), values.get("split", split)
    if split_name is not None and split_name not in SPLIT_NAMES:
        problems.append(f"{place}: split {split_name!r} is not one of: {choices(SPLITS)}")
        return None
    if name is None:
        problems.append(f"{place}: {names['audio']} is empty")
        return None
    if not (values.get("fold", "0").isdecimal() and len(values.get("fold", "0")) < 10):
        problems.append(f"{place}: fold {values['fold']!r} is not a number of at most nine digits")
        return None
    found = find(name)
    if len(found) > 1:
        problems.append(f"{place}: {name!r} is ambiguous. It could be: {', '.join(found)}")
        return None
    taken = set(names.values())
    has_ending = Path(name).suffix.lower() in ENDINGS or found == (name,)
    return Example(
        id=values.get("id", without_ending(name) if has_ending else name),
        audio=found[0],
        text=values.get("text", ""),
        place=place,
        split=SPLIT_NAMES[split_name] if split_name else None,
        speaker=values.get("speaker"),
        label=values.get("label"),
        fold=int(values["fold"]) if "fold" in values else None,
        origin=values.get("origin"),
        further=further_cells({name: cell for name, cell in fields.items() if name not in taken}),
    )


def further_cells(cells: dict[str, Any]) -> dict[str, str]:
    """Return the cells of other columns that hold text or numbers; the others cannot group results."""
    return {name: str(cell) for name, cell in cells.items() if isinstance(cell, str | int) and cell != ""}


def _finder(root: Path, beside: Path) -> Any:
    """Return a function from a name in a table to the paths that it may mean, relative to ``root``.

    A file of exactly this name below the table's folder or ``root`` is meant. Else the name may lack its ending or the
    folder of the recordings. A name that fits no file is returned as it is, relative to the table's folder.
    """
    inner = beside.is_relative_to(root) and ".." not in beside.relative_to(root).parts
    bases = list(dict.fromkeys([beside, root] if inner else [root]))
    prefix = f"{beside.relative_to(root)}/" if inner and beside != root else ""
    deeper = [base / name for base in bases for name in AUDIO_FOLDERS if (base / name).is_dir()]

    @cache
    def files(folder: Path) -> frozenset[str]:
        try:
            return frozenset(os.listdir(folder))  # noqa: PTH208  # names, not paths: tables may have a million rows
        except (OSError, ValueError):
            return frozenset()

    def is_there(folder: Path, name: str) -> bool:
        above, _, last = name.rpartition("/")
        return last in files(folder / above if above else folder)

    def find(name: str) -> tuple[str, ...]:
        endings = [""] if Path(name).suffix.lower() in ENDINGS else ["", *ENDINGS]
        for folders, tried in ((bases, [""]), (bases, endings[1:]), (deeper, endings)):
            names = [f"{name}{ending}" for ending in tried]
            found = [folder / each for folder in folders for each in names if is_there(folder, each)]
            if found:
                return tuple(dict.fromkeys(_below(root, path) for path in found))
        return (f"{prefix}{name}",)

    return find


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
