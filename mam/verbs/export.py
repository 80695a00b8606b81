"""`mam export`: a finished run as a plain checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.files import expanded
from mam.verbs.common import Words, open_terminal


def main(argv: Sequence[str]) -> int:
    """Write the model of RUN into DIR."""
    words = Words("export", "RUN DIR [fold=N] [force=true] [plugins=[...]]", "mam export outputs/RUN exported fold=1")
    words.add_argument("run", metavar="RUN", help="folder of a finished run")
    words.add_argument("folder", metavar="DIR", help="folder to write, created if it does not exist")
    words.key("fold", "N", "fold whose model is exported, if the run has one per fold")
    words.key("force", "true", "replace an earlier export in DIR", choices=("true", "false"))
    words.plugins()
    options = words.read(argv)
    terminal = open_terminal()
    from mam.runs.export import export

    folder = expanded(options.folder)
    with terminal.status("exporting"):
        remarks = export(Path(options.run), folder, options.fold, options.force == "true")
    terminal.say(f"exported {options.run} into {folder}: a plain checkpoint, README.md, mam_config.yaml")
    for remark in remarks:
        terminal.say(remark)
    return 0
