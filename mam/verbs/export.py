"""`mam export`: a finished run as a plain checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.errors import ConfigError
from mam.verbs.common import open_terminal, options

USAGE = "RUN DIR [fold=N] [force=true]"


def main(argv: Sequence[str]) -> int:
    """Write the model of RUN into DIR."""
    places, said = options("export", argv, ("fold", "force"), USAGE)
    if len(places) != 2 or said.get("force", "false") not in ("true", "false"):
        raise ConfigError(f"say: mam export {USAGE}")
    terminal = open_terminal()
    from mam.runs.export import export

    with terminal.status("exporting"):
        remarks = export(Path(places[0]), Path(places[1]), said.get("fold"), said.get("force") == "true")
    terminal.say(f"exported {places[0]} into {places[1]}: a plain checkpoint, README.md, mam_config.yaml")
    for remark in remarks:
        terminal.say(remark)
    return 0
