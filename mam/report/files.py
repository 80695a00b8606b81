"""The tables of a report as files: Markdown, LaTeX, and CSV with unrounded numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mam.files import atomic, write_csv
from mam.report.collect import Group
from mam.report.group_table import group_table
from mam.report.latex import PREAMBLE, latex
from mam.report.layout import STYLES, fitted
from mam.report.runs import Run
from mam.scoring.wording import COUNTS
from mam.terminal import Terminal

FIELDS = (
    "group",
    "target",
    "source",
    "data",
    "split",
    "n",
    "method",
    "control",
    "lam",
    "layers",
    "parts",
    "seed",
    "metric",
    "rate",
    "baseline",
    "absolute",
    "ci95_low",
    "ci95_high",
    "relative",
    "p_value",
    "p_holm",
    "units",
    "changed",
    "better",
    "worse",
    "dev",
    "hash",
    "folder",
    "command",
)


def write_tables(folder: Path, groups: Sequence[Group], name: str = "table") -> None:
    """Write ``table.md``, ``table.tex`` and ``table.csv`` into ``folder``; ``name`` replaces ``table``."""
    tables = [(group.title, group_table(group)) for group in groups]
    with atomic(folder / f"{name}.md") as file:
        file.write("\n".join(markdown(title, table.headings, table.cells) for title, table in tables))
    with atomic(folder / f"{name}.tex") as file:
        file.write(f"{PREAMBLE}\n")
        file.write("\n".join(latex(title, table.headings, table.cells) for title, table in tables))
    with atomic(folder / f"{name}.csv") as file:
        rows = [_numbers(group, run, group.adjusted.get(run.folder)) for group in groups for run in group.runs]
        write_csv(file, [FIELDS, *rows])


def markdown(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table below its title."""
    lines = [f"**{_md(title)}**", "", _row(heads), "|" + "---|" * len(heads), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(row: Sequence[str]) -> str:
    return "| " + " | ".join(map(_md, row)) + " |"


def _md(text: str) -> str:
    """Return text with the special characters of Markdown tables and HTML escaped."""
    for sign, safe in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "\\|"),
        ("*", "\\*"),
        ("_", "\\_"),
        ("`", "\\`"),
        ("\n", " "),
    ):
        text = text.replace(sign, safe)
    return text


def _numbers(group: Group, run: Run, p_holm: float | None) -> list[Any]:
    result, delta, merge = run.result, run.result.delta, run.result.merge
    low, high = delta.ci95 or ("", "")
    values = {
        "group": group.title,
        "data": result.data.name,
        "split": result.data.split,
        "n": result.data.n,
        "lam": " ".join(f"{lam:.6g}" for lam in merge.lams_by_source),
        "layers": " ".join(map(str, merge.layers)),
        "metric": result.metric,
        "rate": result.rate,
        "baseline": result.baseline_rate,
        "absolute": delta.absolute,
        "ci95_low": low,
        "ci95_high": high,
        "relative": delta.relative,
        "p_value": delta.p_value,
        "p_holm": p_holm,
        "units": delta.clusters,
        "changed": delta.changed,
        "better": delta.better,
        "worse": delta.worse,
        "dev": result.dev_rate,
        "hash": result.hash,
        "folder": str(run.folder),
        "command": result.command,
    }
    row = run.traits | values
    return ["" if row[field] is None else row[field] for field in FIELDS]


def show_group(terminal: Terminal, group: Group) -> None:
    """Show the table of a group in the terminal, in 80 columns if possible."""
    table = group_table(group)
    sides = ["right" if is_right else "left" for is_right in table.are_right]
    columns = list(zip(table.headings, sides, strict=True))
    styles = ["" if row.verdict is None else STYLES[row.verdict] for row in table.rows]
    terminal.table(group.title, fitted(columns, table.cells, ("p", "relative", COUNTS, "p Holm"), styles))
