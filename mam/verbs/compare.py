"""`mam compare`: two finished runs over the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.verbs.common import Words, open_terminal


def main(argv: Sequence[str]) -> int:
    """Show run B minus run A."""
    words = Words("compare", "A B [plugins=[...]]", "mam compare outputs/RUN outputs/OTHER")
    words.add_argument("old", metavar="A", help="folder of a finished run")
    words.add_argument("new", metavar="B", help="folder of another finished run; differences are B minus A")
    words.plugins()
    options = words.read(argv)
    terminal = open_terminal()
    from mam.report.comparison import show_comparison
    from mam.runs.compare import compare

    show_comparison(terminal, compare(Path(options.old), Path(options.new)), [options.old, options.new])
    return 0
