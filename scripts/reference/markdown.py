"""Tables and blocks of Markdown, and where the files are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell_text(str(cell)) for cell in cells) + " |"


def cell_text(text: str) -> str:
    """A cell: bars are escaped, and so is what would make a link of two brackets in a row."""
    return text.replace("|", "\\|").replace("] [", "] \\[")


def table(heading: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    return "\n".join([row(*heading), "|" + "---|" * len(heading), *(row(*cells) for cells in rows)])


def block(text: str, language: str = "text") -> str:
    """A fenced block."""
    return f"```{language}\n{text.strip()}\n```"
