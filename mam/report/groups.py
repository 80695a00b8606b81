"""Rates by group, in a terminal of 80 columns and on the page."""

from __future__ import annotations

from rich.table import Table

from mam.records.parts import GroupRecord, GroupsRecord
from mam.report.layout import DIFFERENCE_COLUMNS, difference_cells, fitted
from mam.scoring.significance import LEAST
from mam.scoring.wording import FEW_NOTE, SHORT_COUNTS, counted
from mam.terminal import percent

SHOWN = 10  # groups in a terminal; the page has all
COLUMNS = [("n", "right"), ("baseline", "right"), ("merged", "right"), *DIFFERENCE_COLUMNS]


def group_cells(group: GroupRecord) -> list[str]:
    """Return the cells of one group: its value, then those of `COLUMNS`."""
    value = "(none)" if group.value is None else " ".join(str(group.value).split())
    if group.delta is None or group.rate is None or group.baseline is None or group.p_holm is None:
        return [value, str(group.n), *["–"] * (len(COLUMNS) - 1)]
    rates = [percent(group.baseline), percent(group.rate)]
    return [value, str(group.n), *rates, *difference_cells(group.delta, group.p_holm)]


def groups_table(table: GroupsRecord) -> Table:
    """Return a table of the groups with most examples."""
    rows = [group_cells(group) for group in table.groups[:SHOWN]]
    return fitted([(table.by, "left"), *COLUMNS], rows, ["p", SHORT_COUNTS, "n"])


def groups_notes(table: GroupsRecord, shown: int = SHOWN) -> list[str]:
    """Return sentences on the groups that are not shown, and on what short cells mean."""
    notes = []
    rest = table.groups[shown:]
    if rest:
        notes.append(f"{counted(len(rest), 'more group')} with {counted(sum(group.n for group in rest), 'example')}")
    deltas = [group.delta for group in table.groups if group.delta]
    few = [delta for delta in deltas if delta.clusters < LEAST]
    if few:
        unit = f"{few[0].unit}s"
        notes.append(f"no interval for {counted(len(few), 'group')} with fewer than {LEAST} {unit}")
    if any(delta.changed and not delta.can_be_significant for delta in deltas):
        notes.append(FEW_NOTE)
    silent = len(table.groups) - len(deltas)
    if silent:
        notes.append(f"no rate for {counted(silent, 'group')} whose references have no words")
    return [*notes, f"p Holm: p adjusted for all {len(deltas)} groups (Holm)"] if len(deltas) > 1 else notes
