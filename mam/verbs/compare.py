"""`mam compare`: two finished runs over the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.errors import ConfigError
from mam.verbs.common import open_terminal, options

USAGE = "A B"


def main(argv: Sequence[str]) -> int:
    """Show B minus A."""
    places, _ = options("compare", argv, (), USAGE)
    if len(places) != 2:
        raise ConfigError(f"say: mam compare {USAGE}, two run folders")
    terminal = open_terminal()
    from mam.records.reading import read_result
    from mam.runs.compare import compare, show_comparison

    found = compare(Path(places[0]), Path(places[1]))
    show_comparison(terminal, found, places, read_result(Path(places[0]))["data"])
    return 0
