"""`mam report`: tables, pictures and one page from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.verbs.common import Words, open_terminal


def main(argv: Sequence[str]) -> int:
    """Collect the finished runs below the folders and write ``DIR/report/``."""
    words = Words("report", "DIR... [out=FOLDER]", "mam report outputs")
    words.add_argument("places", metavar="DIR", nargs="+", help="a folder with finished runs anywhere below it")
    words.key("out", "FOLDER", "where the report goes (default: report/ in the first DIR)")
    said = words.read(argv)
    terminal = open_terminal()
    from mam.report.collect import collect
    from mam.report.files import show_group
    from mam.report.page import write_report

    found = collect([Path(place) for place in said.places])
    folder = Path(said.out or Path(said.places[0]) / "report")
    with terminal.status("drawing"):
        page = write_report(found, folder)
    for group in found.groups:
        show_group(terminal, group)
    terminal.say("")
    for remark in found.remarks:
        terminal.say(remark)
    terminal.say(f"files   {page}, table.md, table.csv, table.tex, pictures/")
    return 0
