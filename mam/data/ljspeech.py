"""LJ Speech 1.1 in its official layout: ``metadata.csv`` (``id|text|normalised text``) and ``wavs/<id>.wav``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mam.data.listing import Example, Listing, data_format, is_blank, lines_of
from mam.errors import DataError, bullets

HELD_OUT = 500  # the last 500 of the sorted ids, half dev, half test, as in ESPnet's recipe
DOWNLOAD = (
    "LJ Speech 1.1 is LJSpeech-1.1.tar.bz2 (2.6 GB, 13,100 clips, public domain) from"
    " https://keithito.com/LJ-Speech-Dataset. Unpack it and set data.root=FOLDER/LJSpeech-1.1,"
    " or put it under $MAM_DATA (default ./data)."
)


@data_format("ljspeech", DOWNLOAD, __doc__)
def list_ljspeech(root: Path) -> Listing:
    """List the rows sorted by id, with the third field as text; more than 500 rows are split by ESPnet's rule.

    Raises:
        DataError: ``metadata.csv`` is missing or empty, or lines do not have three fields (all of them are listed).
    """
    path = root / "metadata.csv"
    if not path.is_file():
        raise DataError(f"{path}: there is no such file, so {root} is not LJ Speech. {DOWNLOAD}")
    rows, problems = [], []
    for number, line in lines_of(path, root):
        fields = line.split("|")
        if is_blank(fields):
            continue
        if len(fields) != 3:
            problems.append(f"{path}, line {number}: has {len(fields)} fields instead of 3 (id|text|normalised text)")
            continue
        rows.append(Example(fields[0], f"wavs/{fields[0]}.wav", fields[2], f"{path}, line {number}"))
    if problems:
        raise DataError(bullets(problems))
    if not rows:
        raise DataError(f"{path}: is empty. {DOWNLOAD}")
    rows.sort(key=lambda row: row.id)
    if len(rows) <= HELD_OUT:
        return Listing(rows, f"no splits: they need more than {HELD_OUT} clips, but there are {len(rows)}")
    first_dev, first_test = len(rows) - HELD_OUT, len(rows) - HELD_OUT // 2
    splits = ["train" if i < first_dev else "dev" if i < first_test else "test" for i in range(len(rows))]
    return Listing(
        [replace(row, split=split) for row, split in zip(rows, splits, strict=True)],
        f"sorted by id; the last {HELD_OUT} clips are dev (first half) and test (second half), the rest is train",
    )
