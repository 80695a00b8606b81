"""ESC-50 in its official layout: ``meta/esc50.csv`` and ``audio/*.wav``; five folds of clips from Freesound recordings.

Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from mam.data.listing import Example, Listing, data_format, is_blank, lines_of
from mam.errors import DataError, bullets, choices

FOLDS = (1, 2, 3, 4, 5)
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
TABLE = Path(__file__).parent / "esc50_audioset.csv"
DOWNLOAD = (
    "ESC-50 is ESC-50-master.zip (600 MB, 2,000 clips, CC BY-NC) from https://github.com/karolpiczak/ESC-50. Unpack it"
    " and set data.root=FOLDER/ESC-50-master, or put it under $MAM_DATA (default ./data)."
)


@data_format("esc50", DOWNLOAD, __doc__)
def list_esc50(root: Path) -> Listing:
    """List the rows in the order of the table; ``label`` is the category, ``origin`` the upload the clip was cut from.

    Raises:
        DataError: The table is missing, has other columns, has broken lines or unknown classes (all of them are
            listed), or lists no clip of one of the five folds.
    """
    path = root / "meta" / "esc50.csv"
    if not path.is_file():
        raise DataError(f"{path}: there is no such file, so {root} is not ESC-50. {DOWNLOAD}")
    rows, problems = [], []
    columns: tuple[str, ...] | None = None
    for number, line in lines_of(path, root):
        try:
            fields = next(csv.reader([line]), [])
        except csv.Error as error:
            problems.append(f"{path}, line {number}: broken CSV ({error})")
            continue
        if is_blank(fields):
            continue
        if columns is None:
            columns = tuple(fields)
            if columns != COLUMNS:
                raise DataError(f"{path}: its columns are {choices(fields)}. Those of ESC-50 are {choices(COLUMNS)}.")
            continue
        problem = _problem(fields)
        if problem:
            problems.append(f"{path}, line {number}: {problem}")
            continue
        name, fold, _, category, _, origin, _ = fields
        rows.append(
            Example(
                id=name.removesuffix(".wav"),
                audio=f"audio/{name}",
                text="",
                place=f"{path}, line {number}",
                label=category,
                fold=int(fold),
                origin=origin,
            )
        )
    if problems:
        raise DataError(bullets(problems))
    missing = [str(fold) for fold in FOLDS if not any(row.fold == fold for row in rows)]
    if missing:
        raise DataError(
            f"{path}: has no clips in fold {', '.join(missing)}. ESC-50 has five folds. Check that the table is"
            " complete."
        )
    return Listing(rows, "the five predefined folds")


@cache
def audioset_names() -> dict[str, tuple[str, ...]]:
    """Return the AudioSet labels, as ids and display names, that match each class of ESC-50; () if none does.

    The matching is mam's own; ids and names are AudioSet's.
    """
    names: dict[str, list[str]] = {}
    for fields in csv.DictReader(line for _, line in lines_of(TABLE)):
        names.setdefault(fields["class"], []).extend(name for name in (fields["mid"], fields["name"]) if name)
    return {label: tuple(entries) for label, entries in names.items()}


def _problem(fields: list[str]) -> str | None:
    if len(fields) != len(COLUMNS):
        return f"{len(fields)} fields instead of {len(COLUMNS)} ({','.join(COLUMNS)})"
    if fields[1] not in map(str, FOLDS):
        return f"fold {fields[1]!r} is not one of 1 to 5"
    if fields[3] not in audioset_names():
        return f"{fields[3]!r} is not a class of ESC-50"
    return None if fields[5] else "src_file is empty"
