"""Metadata as CSV, TSV or JSON lines: rows of named cells, each with its file and line.

CSV may quote cells, as spreadsheets do. In TSV a quote is a letter like any other: Common Voice writes sentences with
open quotes in them, and a quote that opened a cell would swallow the lines that follow.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mam.data.listing import is_blank, lines_of
from mam.errors import DataError, MamError, choices
from mam.small_files import parse_json

MOST_COLUMNS = 10_000
Lines = Iterator[tuple[int, str]]  # numbered
Fields = tuple[str, list[str]]  # the place of a row, and its cells


@dataclass(frozen=True)
class Table:
    """A table of metadata; ``rows`` are pairs of a place (file and line) and the cells by column."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[str, dict[str, Any]]]


def read_table(path: Path, problems: list[str], within: Path | None = None) -> Table:
    """Read a table; lines that are no rows of it are added to ``problems``.

    Args:
        path: A file whose ending says what it is.
        problems: Grows by a sentence for each broken line.
        within: The folder that the file must not leave by a link; None if it may be anywhere.

    Raises:
        DataError: The file is missing, not UTF-8, of another kind, leads out of ``within``, or has a broken heading.
    """
    if path.suffix not in READERS:
        raise DataError(f"{path}: is not a supported table. Its name must end in one of: {choices(list(READERS))}.")
    return READERS[path.suffix](path, lines_of(path, within), problems)


def _read_csv(path: Path, lines: Lines, problems: list[str]) -> Table:
    reader = csv.reader((f"{line}\n" for _, line in lines), strict=True)

    def rows() -> Iterator[Fields]:
        try:
            for cells in reader:
                yield f"{path}, line {reader.line_num}", cells
        except csv.Error as error:
            raise DataError(
                f"{path}, line {reader.line_num}: invalid CSV ({error}). Look for an open quotation mark in"
                " earlier lines."
            ) from error

    return _with_heading(path, rows(), ",", problems)


def _read_tsv(path: Path, lines: Lines, problems: list[str]) -> Table:
    rows = ((f"{path}, line {number}", line.split("\t")) for number, line in lines)
    return _with_heading(path, rows, "\t", problems)


def _with_heading(path: Path, rows: Iterator[Fields], separator: str, problems: list[str]) -> Table:
    heading = next((cells for _, cells in rows if not is_blank(cells)), [])
    columns = tuple(name.strip() for name in heading)
    if len(columns) > MOST_COLUMNS:
        raise DataError(f"{path}: has {len(columns):,} columns. Metadata may have at most {MOST_COLUMNS:,}.")
    duplicates = sorted(name for name, count in Counter(columns).items() if count > 1)
    if duplicates:
        raise DataError(f"{path}: has two columns {' and '.join(name or '(without a name)' for name in duplicates)}.")
    made = []
    for place, cells in rows:
        if is_blank(cells):
            continue
        if len(cells) != len(columns):
            problems.append(f"{place}: has {len(cells)} fields instead of {len(columns)} ({separator.join(columns)})")
        else:
            made.append((place, dict(zip(columns, cells, strict=True))))
    return Table(path, columns, made)


def _read_jsonl(path: Path, lines: Lines, problems: list[str]) -> Table:
    columns: dict[str, None] = {}
    made = []
    for number, line in lines:
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            record = parse_json(line, place, is_distinct=True)
        except MamError as error:
            problems.append(str(error).rstrip("."))
            continue
        if not isinstance(record, dict):
            problems.append(f"{place}: is a JSON {type(record).__name__}, not a JSON object")
            continue
        columns |= dict.fromkeys(record)
        made.append((place, record))
    return Table(path, tuple(columns), made)


READERS: dict[str, Callable[[Path, Lines, list[str]], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
}
