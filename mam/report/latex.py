"""Tables for LaTeX, with booktabs and the columns of numbers of siunitx."""

from __future__ import annotations

import re
from collections.abc import Sequence

PREAMBLE = "% Needs \\usepackage{booktabs} and \\usepackage{siunitx}."
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
NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d+))?")


def tex(text: str) -> str:
    """Return text for LaTeX: special characters escaped, Greek letters and signs in math mode."""
    return "".join(TEX.get(letter, letter) for letter in text.replace("\n", " "))


def latex(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with a caption.

    A column with numbers is aligned at the decimal marker. If they are percentages, the sign stands in its heading.
    """
    columns = [[row[i] for row in rows] for i in range(len(heads))]
    kinds = [_column_type(column) for column in columns]
    headings = [_heading(head, column, kind) for head, column, kind in zip(heads, columns, kinds, strict=True)]
    lines = [r"\begin{table}", rf"\caption{{{tex(title)}}}", r"\begin{tabular}{" + " ".join(kinds) + "}", r"\toprule"]
    lines += [" & ".join(headings) + r" \\", r"\midrule"]
    for row in rows:
        lines.append(" & ".join(_cell(cell, kind) for cell, kind in zip(row, kinds, strict=True)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _plain_number(cell: str) -> str | None:
    """Return a cell as siunitx reads it: 24.03 of ``24.03 %``; None if it is no number."""
    number = cell.replace("−", "-").removesuffix(" %")
    match = NUMBER.fullmatch(number)
    return number if match and (match[2] or match[3]) else None


def _column_type(column: Sequence[str]) -> str:
    """Return ``S`` with the room for the longest number, or ``l`` if the column has no number."""
    found = [NUMBER.fullmatch(number) for number in map(_plain_number, column) if number is not None]
    matches = [match for match in found if match is not None]
    if not matches:
        return "l"
    sign = "+" if any(match[1] for match in matches) else ""
    whole = max(1, *(len(match[2]) for match in matches))
    decimals = max(len(match[3] or "") for match in matches)
    return f"S[table-format={sign}{whole}.{decimals}]" if decimals else f"S[table-format={sign}{whole}]"


def _heading(head: str, column: Sequence[str], kind: str) -> str:
    has_signs = kind != "l" and any(cell.endswith(" %") for cell in column)
    text = tex(f"{head} (%)" if has_signs and not head.endswith("%") else head)
    return text if kind == "l" else f"{{{text}}}"


def _cell(cell: str, kind: str) -> str:
    if kind == "l":
        return tex(cell)
    number = _plain_number(cell)
    return number if number is not None else f"{{{tex(cell)}}}" if cell else ""
