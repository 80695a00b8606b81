"""`mam report`: tables, pictures and one page from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.verbs.common import Words, open_terminal


def main(argv: Sequence[str]) -> int:
    """Collect the finished runs below the folders and write ``DIR/report/``."""
    words = Words("report", "DIR... [out=FOLDER] [plugins=[...]]", "mam report outputs")
    words.add_argument("places", metavar="DIR", nargs="+", help="folder to search for finished runs, at any depth")
    words.key("out", "FOLDER", "folder for the report (default: report/ in the first DIR)")
    words.plugins()
    options = words.read(argv)
    terminal = open_terminal()
    from mam.report.collect import collect
    from mam.report.files import show_group
    from mam.report.page import write_report

    collection = collect([Path(place) for place in options.places])
    folder = Path(options.out or Path(options.places[0]) / "report")
    with terminal.status("drawing"):
        page = write_report(collection, folder)
    for group in collection.groups:
        show_group(terminal, group)
    terminal.say("")
    for remark in collection.remarks:
        terminal.say(remark)
    terminal.say(f"files   {page}, table.md, table.csv, table.tex, pictures/")
    return 0
