"""`mam report`: tables, pictures and one page from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.errors import ConfigError
from mam.verbs.common import open_terminal, options

USAGE = "DIR... [out=FOLDER]"


def main(argv: Sequence[str]) -> int:
    """Collect what is finished below the folders and write ``DIR/report/``."""
    places, said = options("report", argv, ("out",), USAGE)
    if not places:
        raise ConfigError(f"say: mam report {USAGE}")
    terminal = open_terminal()
    from mam.report.collect import collect
    from mam.report.files import show_group
    from mam.report.page import write_report

    found = collect([Path(place) for place in places])
    folder = Path(said.get("out") or Path(places[0]) / "report")
    with terminal.status("drawing"):
        page = write_report(found, folder)
    for group in found.groups:
        show_group(terminal, group)
    terminal.say("")
    for remark in found.remarks:
        terminal.say(remark)
    terminal.say(f"files   {page}, table.md, table.csv, table.tex, pictures/")
    return 0
