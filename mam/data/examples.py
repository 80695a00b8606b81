"""Rows of examples in a memory-mapped file, so that 100,000 of them take little memory."""

from __future__ import annotations

import json
import mmap
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mam.data.listing import Example

COLUMNS = ("id", "audio", "text", "speaker", "label", "origin", "split", "fold", "index")
MOST_FURTHER = 100  # columns beside `COLUMNS`
TAKEN = ("duration", "reference", "prediction", "scores_top5", "cluster")  # what else a line of predictions holds


@dataclass(frozen=True)
class Examples:
    """Some rows of a table, in an order of their own; a row is a dict by column.

    ``lines`` holds a line of JSON for each row of the whole table, and ``stops`` where each line ends. ``positions``
    are the rows that belong to this selection.
    """

    column_names: tuple[str, ...]
    lines: mmap.mmap
    stops: NDArray[np.int64]
    positions: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Example]) -> Examples:
        """Write at least one row to a file without a name; the mapping keeps its content alive.

        At most `MOST_FURTHER` further columns are kept, in the order in which they occur.
        """
        names = dict.fromkeys(name for row in rows for name in row.further if name not in (*COLUMNS, *TAKEN))
        further = list(names)[:MOST_FURTHER]
        lengths = np.zeros(len(rows), np.int64)
        with tempfile.TemporaryFile(prefix="mam-") as file:
            for i, row in enumerate(rows):
                values = [getattr(row, name) for name in COLUMNS] + [row.further.get(name) for name in further]
                lengths[i] = file.write(json.dumps(values).encode() + b"\n")
            file.flush()
            lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return cls((*COLUMNS, *further), lines, np.cumsum(lengths), np.arange(len(rows)))

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return dict(zip(self.column_names, self._values(self.positions[i]), strict=True))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def column(self, name: str) -> list[Any]:
        """Return the values of one column."""
        column = self.column_names.index(name)
        return [self._values(position)[column] for position in self.positions]

    def select(self, positions: Sequence[int]) -> Examples:
        """Return the examples at these positions, in this order."""
        chosen = self.positions[np.asarray(positions, np.int64)]
        return Examples(self.column_names, self.lines, self.stops, chosen)

    def _values(self, position: np.int64) -> list[Any]:
        start = self.stops[position - 1] if position else 0
        values: list[Any] = json.loads(self.lines[start : self.stops[position]])
        return values
