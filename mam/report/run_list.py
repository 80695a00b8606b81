"""Finished runs in a terminal of 80 columns, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from mam.report.rows import RunRow
from mam.terminal import interval, p_text, percent, plain_table, points


def list_table(rows: Sequence[RunRow], is_long: bool) -> Table:
    """Return a table with one line a run; ``is_long`` adds further columns, with the folder last."""
    table = plain_table(("when", "left"), ("pair", "left"), ("data", "left"), ("λ", "left"), ("Δ points, 95 %", "left"))
    more: list[tuple[str, str]] = [("split", "left"), ("n", "right"), ("rate", "right"), ("p", "right")]
    for heading, justify in [*more, ("folder", "left")] if is_long else []:
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    for row in rows:
        cells = [f"{row.when:%m-%d %H:%M}", row.model, row.data, _merge_cell(row), _difference_cell(row)]
        further = [row.split, str(row.n), percent(row.rate), p_text(row.p_value), row.folder]
        table.add_row(*map(_one_line, [*cells, *further] if is_long else cells))
    return table


def _merge_cell(row: RunRow) -> str:
    """Return λ, and what else of the merge is not the default: method, alignment, control, training, search."""
    lam = f"mean {row.lam_mean:.3g}" if row.lam is None else f"{row.lam:.4g}"
    method = "none" if row.method == "linear" else row.method
    names = (method, row.align, row.control, row.train, row.tune)
    return " ".join([lam, *(name for name in names if name != "none")])


def _difference_cell(row: RunRow) -> str:
    """Return the difference with its interval; of a run that is its own baseline, the rate."""
    if row.lam_mean == 0 and row.train == "none":
        return f"baseline {percent(row.rate)}"
    ends = None if row.ci_low is None else (row.ci_low, row.ci_high)
    return f"{points(row.delta)} {interval(ends)}"


def _one_line(text: str) -> str:
    """Return text for a cell; names are the user's own and may contain line breaks and markup."""
    return escape(" ".join(text.split()))
