"""The tables of a report as files: Markdown, LaTeX (booktabs), and CSV with unrounded numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mam.files import atomic, write_csv
from mam.records.text import metric_name
from mam.report.collect import Group
from mam.report.layout import fitted
from mam.report.runs import Run
from mam.report.study_table import best_on_dev
from mam.scoring.wording import COUNTS, counts_cell, p_cell
from mam.terminal import Terminal, interval, percent, points, relative

NAMES = {"lam": "λ"}
TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "λ": r"$\lambda$",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "←": r"$\leftarrow$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
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


def headings(group: Group) -> list[str]:
    """Return the headings of a group's table, which `cells` fills."""
    has_dev = any(run.result.dev_rate is not None for run in group.runs)
    heading = metric_name(group.runs[0].result)
    named = [NAMES.get(key, key) for key in group.varied]
    return [*named, *(["dev"] if has_dev else []), heading, "Δ points", "95 %", "relative", "p", "p Holm", COUNTS]


def cells(group: Group) -> list[list[str]]:
    """Return one row per run: its varied traits, the rates, the difference from its baseline with the interval."""
    chosen, adjusted = best_on_dev([run.result for run in group.runs]), group.adjusted
    has_dev, rows = "dev" in headings(group), []
    for place, run in enumerate(group.runs):
        row = [run.traits[key] for key in group.varied]
        if has_dev:
            rate = run.result.dev_rate
            row.append("" if rate is None else percent(rate) + (" *" if place in chosen else ""))
        row.append(percent(run.result.rate))
        delta = run.result.delta
        if run.folder in adjusted or run.result.train:
            row += [points(delta.absolute), interval(delta.ci95), relative(delta.relative), p_cell(delta)]
            row.append(p_cell(delta, adjusted[run.folder]) if run.folder in adjusted else "")
            row.append(counts_cell(delta))
        else:
            row += ["baseline", "", "", "", "", ""]
        rows.append(row)
    return rows


def write_tables(folder: Path, groups: Sequence[Group], name: str = "table") -> None:
    """Write ``table.md``, ``table.tex`` and ``table.csv`` into ``folder``; ``name`` replaces ``table``."""
    with atomic(folder / f"{name}.md") as file:
        file.write("\n".join(markdown(group.title, headings(group), cells(group)) for group in groups))
    with atomic(folder / f"{name}.tex") as file:
        file.write("% needs \\usepackage{booktabs}; Greek and signs are in math mode\n")
        file.write("\n".join(latex(group.title, headings(group), cells(group)) for group in groups))
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


def tex(text: str) -> str:
    """Return text for LaTeX: special characters escaped, Greek letters and signs in math mode."""
    return "".join(TEX.get(letter, letter) for letter in text.replace("\n", " "))


def latex(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a booktabs table with a caption."""
    lines = [r"\begin{table}", rf"\caption{{{tex(title)}}}", r"\begin{tabular}{" + "l" * len(heads) + "}", r"\toprule"]
    lines += [" & ".join(map(tex, heads)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(tex, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


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
    columns = [
        (heading, "left" if heading in (*group.varied, *NAMES.values(), "95 %") else "right")
        for heading in headings(group)
    ]
    rows = cells(group)
    terminal.table(group.title, fitted(columns, rows, ("p", "relative", COUNTS, "p Holm")))
