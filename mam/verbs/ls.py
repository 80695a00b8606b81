"""`mam ls`: finished runs, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.errors import shown
from mam.verbs.common import Words


def main(argv: Sequence[str]) -> int:
    """List the finished runs below the folders, the newest first."""
    words = Words("ls", "[FOLDER ...] [--long] [--json] [plugins=[...]]", "mam ls outputs")
    words.add_argument("folders", metavar="FOLDER", nargs="*", help="folder to search, at any depth (default: outputs)")
    words.add_argument(
        "--long", action="store_true", help="also show split, examples, error rate, p and the folder of each run"
    )
    words.add_argument("--json", action="store_true", help="print everything as JSON")
    words.plugins()
    options = words.read(argv)

    import json
    import sys

    from mam.report.found import left_out
    from mam.report.rows import found_rows
    from mam.report.run_list import list_table
    from mam.scoring.wording import counted
    from mam.terminal import Terminal

    terminal = Terminal()
    folders = [Path(folder) for folder in options.folders or ["outputs"]]
    found = found_rows(folders)
    remarks = left_out(found.unfinished, found.broken)
    if options.json:
        print(json.dumps([row.as_dict() for row in found.runs], indent=2, ensure_ascii=False))
        for remark in remarks:  # standard output is JSON alone
            print(shown(remark), file=sys.stderr)
        return 0
    title = f"{counted(len(found.runs), 'finished run')} in {', '.join(map(str, folders))}"
    if found.runs:
        terminal.table(f"{title}, newest first", list_table(found.runs, options.long))
    else:
        terminal.say(title)
    if remarks:
        terminal.say("")
    for remark in remarks:
        terminal.say(remark)
    return 0
