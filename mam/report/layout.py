"""Tables of at most 80 columns, and the columns for differences."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mam.scoring.significance import Difference
from mam.scoring.wording import SHORT_COUNTS, Verdict, counts_cell, judged, p_cell
from mam.terminal import interval, plain_table, points

CHANGE = "Δ points"

STYLES: dict[Verdict, str] = {"better": "green", "worse": "red", "undecided": "dim"}
DIFFERENCE_COLUMNS = [
    (CHANGE, "right"),
    ("95 %", "left"),
    ("p", "right"),
    ("p Holm", "right"),
    (SHORT_COUNTS, "right"),
]


def difference_cells(difference: Difference, p_holm: float) -> list[str]:
    """Return one row's cells for `DIFFERENCE_COLUMNS`."""
    change = [points(difference.absolute), interval(difference.ci95)]
    return [*change, p_cell(difference), p_cell(difference, p_holm), counts_cell(difference)]


def verdict_style(difference: Difference, p_value: float | None = None) -> str:
    """Return the style of a difference in a terminal: green if better, red if worse, dim if undecided."""
    return STYLES[judged(difference, p_value)]


def fitted(
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    needless: Sequence[str],
    styles: Sequence[str] = (),
) -> Table:
    """Return a table of at most 80 columns if leaving some out suffices.

    Columns with the same value in every row are dropped first, except the first column. Then the ``needless`` ones are
    dropped, one after another. ``styles`` are those of each row's difference.
    """
    places = list(range(len(columns)))

    def is_narrow() -> bool:
        widths = [max(len(cell) for cell in (columns[i][0], *(row[i] for row in rows))) for i in places]
        return sum(widths) + 2 * (len(widths) - 1) <= 80

    if not is_narrow() and len(rows) > 1:
        places = [i for i in places if i == 0 or len({row[i] for row in rows}) > 1]
    for name in needless:
        if is_narrow():
            break
        places = [i for i in places if columns[i][0] != name]
    table = plain_table(*(columns[i] for i in places))
    for row, style in zip(rows, styles or [""] * len(rows), strict=True):
        table.add_row(*(Text(row[i], style) if columns[i][0] == CHANGE else escape(row[i]) for i in places))
    return table
