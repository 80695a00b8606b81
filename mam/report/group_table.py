"""The table of comparable runs: the same columns and rows on the page, in files and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mam.records.text import metric_name
from mam.report.collect import Group
from mam.report.layout import CHANGE
from mam.report.runs import Run
from mam.scoring.wording import COUNTS, Verdict, counts_cell, judged, p_cell
from mam.terminal import interval, percent, points, relative

NAMES = {"lam": "λ"}
CONFIDENCE = "95 %"
# Values that a caption does not mention.
UNREMARKABLE = ("", "0", "none", "no", "all", "linear", "merged", "not recorded")


@dataclass(frozen=True)
class Row:
    """One merge or training, or the baseline if ``runs`` is empty; ``runs`` made the same merge."""

    cells: list[str]
    runs: list[Run]
    verdict: Verdict | None = None


@dataclass(frozen=True)
class GroupTable:
    """The columns and rows of a group.

    Attributes:
        headings: the traits that vary, then the difference with its interval, the rates and the test.
        traits: number of the first columns that are traits.
        rows: the baseline first.
        caption: what all runs share.
    """

    headings: list[str]
    traits: int
    rows: list[Row]
    caption: str

    @property
    def cells(self) -> list[list[str]]:
        """The cells of all rows."""
        return [row.cells for row in self.rows]

    @property
    def are_right(self) -> list[bool]:
        """Whether each column holds numbers, which are aligned to the right."""
        return [i >= self.traits or _are_numbers([row[i] for row in self.cells]) for i in range(len(self.headings))]


def group_table(group: Group) -> GroupTable:
    """Return the table of a group, without columns that are empty in every row."""
    headings = [
        *(NAMES.get(key, key) for key in group.varied),
        *(CHANGE, CONFIDENCE, metric_name(group.runs[0].result)),
        *("dev", "relative", "p", "p Holm", COUNTS),
    ]
    rows = [_row(group, run) for run in group.runs]
    baseline = next((run for run in group.runs if run.result.baseline.kind == "unmerged"), None)
    if baseline is not None and all(run.result.is_merged or run.result.train for run in group.runs):
        rows.insert(0, _baseline_row(group, baseline))
    kept = [i for i in range(len(headings)) if i < len(group.varied) or any(row.cells[i] for row in rows)]
    rows = [Row([row.cells[i] for i in kept], row.runs, row.verdict) for row in rows]
    return GroupTable([headings[i] for i in kept], len(group.varied), rows, _caption(group))


def _row(group: Group, run: Run) -> Row:
    delta, runs = run.result.delta, [run, *group.alike.get(run.folder, [])]
    traits = [run.traits[key] for key in group.varied]
    rate, dev = percent(run.result.rate), _dev_cell(run, run in group.chosen)
    if run.folder not in group.adjusted and not run.result.train:
        return Row([*traits, "baseline", "", rate, dev, "", "", "", ""], runs)
    adjusted = group.adjusted.get(run.folder)
    change = [points(delta.absolute), interval(delta.ci95), rate, dev, relative(delta.relative)]
    test = [p_cell(delta), "" if adjusted is None else p_cell(delta, adjusted), counts_cell(delta)]
    return Row([*traits, *change, *test], runs, None if delta.is_old else judged(delta, adjusted))


def _baseline_row(group: Group, run: Run) -> Row:
    """Return the row of the unmerged target, which is no run of its own."""
    named = {"lam": "0", "method": "unmerged"}
    traits = [named.get(key, "") for key in group.varied]
    return Row([*traits, "baseline", "", percent(run.result.baseline_rate), "", "", "", "", ""], [])


def _dev_cell(run: Run, is_best: bool) -> str:
    rate = run.result.dev_rate
    return "" if rate is None else percent(rate) + (" *" if is_best else "")


def _caption(group: Group) -> str:
    """Return the settings that all runs share, apart from unremarkable ones."""
    first = group.runs[0]
    shared = [
        f"{key} {value}"
        for key, value in first.traits.items()
        if key not in (*group.varied, "code") and value not in UNREMARKABLE
    ]
    data = first.result.data
    text = [] if data.normalizer is None else [f"normalizer {data.normalizer}"]
    return f"All rows: {', '.join([*shared, *text])}."


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(cell.replace(".", "", 1).isdigit() for cell in cells if cell)
