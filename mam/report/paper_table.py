"""`table.json`: a table of the paper, written by a study and read by `mam report`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from mam.errors import RecordError
from mam.files import write_json
from mam.records.validity import read_text

TABLE = "table.json"


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True)
class PaperTable:
    """A table with cells of text; ``name`` is that of its study."""

    name: str
    title: str
    note: str
    headings: list[str]
    rows: list[list[str]]


def write_paper_table(table: PaperTable, path: Path) -> None:
    """Write a table atomically."""
    write_json(path, asdict(table))


def read_paper_table(path: Path) -> PaperTable:
    """Return the table in a file. Raises RecordError if the file is not a table."""
    try:
        table = TypeAdapter(PaperTable).validate_json(read_text(path))
    except ValidationError as error:
        raise RecordError(f"{path}: cannot be read ({error.errors()[0]['msg']})") from error
    if any(len(row) != len(table.headings) for row in table.rows):
        raise RecordError(f"{path}: cannot be read (a row has not one cell a heading)")
    return table
