"""From the rows of a hub data set to a listing: its splits, its columns, and its recordings by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from mam.config.data import ColumnsConfig, DataConfig
from mam.data.columns import USUAL, Columns, find_columns, unrecognised
from mam.data.hub import PART, RECORDING, SPLIT, HubRows, Request, rows_of_hub
from mam.data.listing import SPLITS, Example, Listing, without_ending
from mam.data.splits import SPLIT_NAMES
from mam.data.table_rows import further_cells
from mam.data.vctk import split_by_speaker
from mam.errors import DataError, bullets, choices


def list_hub(config: DataConfig, task: str) -> tuple[Path, Listing, Dataset]:
    """List the rows of a hub data set.

    ``Example.audio`` is the path stored in the recording's cell (or the row's number), ``Example.index`` its row in the
    recordings. Only the split that is asked for is read, and of it only the first ``data.limit`` rows, where the choice
    of rows does not depend on others. VCTK is split by speaker as in its folder layout.

    Returns:
        The root that paths are shown below, the listing, and the recordings, in the column ``recording``.

    Raises:
        DataError: As `rows_of_hub`; or a column is missing (the message lists those present).
    """
    hub = config.hub
    read = rows_of_hub(_request(config, task))
    place = f"data.hub.id={hub.id}"
    present = [name for name in read.rows.column_names if name not in (RECORDING, SPLIT, PART)]
    asked = ColumnsConfig(**{**config.columns.asked, "audio": None})
    columns = find_columns(asked, present, place, [kind for kind in USUAL if kind not in ("audio", "split")])
    needed = "text" if task == "asr" else "label"
    if needed not in columns.names:
        raise DataError(unrecognised(place, [needed], [read.audio, *present]))
    rows, name_of_id = _rows(read, columns, str(hub.id), config.columns.id is not None)
    recordings = read.rows.select_columns([RECORDING]).rename_column(RECORDING, "recording")
    rule = f"the hub's splits of {hub.config}" if hub.config else "the hub's splits"
    if config.format == "vctk":  # the copy has both microphones of 0.92; only the first is read, as in the folder
        rows = [row for row in rows if not Path(row.audio).stem.endswith("_mic2")]
        rows, rule = split_by_speaker(rows, "VCTK's Parquet copy")
    elif any(row.fold is not None for row in rows):
        rule = "folds as on the hub"
    said = Columns({"audio": read.audio, **columns.names, "id": name_of_id}, columns.others).said()
    return (
        Path(str(hub.id)),
        Listing(rows, rule, note=f"{hub.id} at {read.commit[:12]}: {_parts(read)}; {said}"),
        recordings,
    )


def _request(config: DataConfig, task: str) -> Request:
    """Return the rows that the choice of examples depends on."""
    is_whole = config.format == "vctk" or config.ids.is_given or config.columns.split is not None
    is_one_split = task == "asr" and config.split in SPLITS and not is_whole
    whole = (config.columns.fold or "fold") if task == "events" else ""
    return Request(
        config.hub,
        config.columns.audio,
        config.split if is_one_split else None,
        None if is_whole else config.limit,
        whole,
    )


def _parts(read: HubRows) -> str:
    parts = [f"{split} is {' and '.join(names)}" for split, names in read.splits.items() if split]
    parts += [f"{' and '.join(names)} not in any split" for split, names in read.splits.items() if not split]
    return "; ".join(parts)


def _rows(read: HubRows, columns: Columns, place: str, is_asked: bool) -> tuple[list[Example], str]:
    """Return one example per row, and where their ids are from; of the audio column only the paths are read."""
    chunks = read.rows.data.column(RECORDING).chunks
    paths = [path for chunk in chunks for path in chunk.field("path").to_pylist()]
    cells: dict[str, Sequence[Any]] = {
        kind: list(read.rows[name]) for kind, name in columns.names.items() if kind in USUAL and kind != "audio"
    }
    others = [name for name in read.rows.column_names if name not in (RECORDING, SPLIT, PART, *columns.names.values())]
    further = {name: list(read.rows[name]) for name in others}
    parts, splits = list(read.rows[PART]), list(read.rows[SPLIT])
    ids, name_of_id = _ids(cells.get("id"), columns, paths, parts, is_asked)
    rows, problems = [], []
    for i in range(len(read.rows)):
        row = {kind: values[i] for kind, values in cells.items()}
        where = f"{place} ({parts[i]}), row {i}"
        split = row.get("split") or splits[i] or None
        if split not in (None, *SPLIT_NAMES):
            problems.append(f"{where}: split {split!r} is not one of: {choices(SPLITS)}")
        if not (row.get("fold") or "0").isdecimal():
            problems.append(f"{where}, column {columns.names['fold']}: {row['fold']!r} is not a number")
            continue
        rows.append(
            Example(
                id=ids[i],
                audio=paths[i] or f"{parts[i]}#{i}",
                text=row.get("text") or "",
                place=where,
                split=SPLIT_NAMES.get(str(split)),
                speaker=row.get("speaker") or None,
                label=row.get("label") or None,
                fold=int(row["fold"]) if row.get("fold") else None,
                origin=row.get("origin") or None,
                index=i,
                further=further_cells({name: values[i] for name, values in further.items()}),
            )
        )
    if problems:
        raise DataError(bullets(problems))
    return rows, name_of_id


def _ids(
    given: Sequence[str | None] | None,
    columns: Columns,
    paths: Sequence[str | None],
    parts: Sequence[str],
    is_asked: bool,
) -> tuple[list[str], str]:
    """Return an id for each row, and in words where they are from.

    A column that is not asked for but recognised by its name is passed over if its values repeat, as FLEURS's ids of
    sentences do.
    """
    numbered = [f"{part}-{i}" for i, part in enumerate(parts)]
    if is_asked and given is not None:
        return [value or number for value, number in zip(given, numbered, strict=True)], columns.names["id"]
    stems = [Path(path).stem if path else None for path in paths]
    longer = [without_ending(path) if path else None for path in paths]
    for values, name in ((given, columns.names.get("id", "")), (stems, "the files' names"), (longer, "the paths")):
        if values is not None and all(values) and len(set(values)) == len(values):
            return [str(value) for value in values], name
    return numbered, "the rows' numbers"


def recording(recordings: Dataset, index: int) -> bytes:
    """Return the encoded recording in one row; DataError if the cell is empty."""
    cell: dict[str, Any] | None = recordings[index]["recording"]
    if not cell or not cell.get("bytes"):
        named = f"only the path {cell['path']!r}" if cell and cell.get("path") else "its cell is empty"
        raise DataError(f"row {index}: the data set has no recording, {named}")
    return bytes(cell["bytes"])
