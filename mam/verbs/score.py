"""`mam score`: saved predictions scored again, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.errors import ConfigError
from mam.verbs.common import open_terminal, options

USAGE = "RUN [normalizer=NAME] [seed=N]"


def main(argv: Sequence[str]) -> int:
    """Score one run again, and write the result beside it."""
    folders, said = options("score", argv, ("normalizer", "seed"), USAGE)
    if len(folders) != 1:
        raise ConfigError(f"say: mam score {USAGE}")
    terminal = open_terminal()
    from mam.report.tables import show_run
    from mam.runs.rescore import rescore

    result, path = rescore(Path(folders[0]), said.get("normalizer"), said.get("seed"))
    show_run(terminal, result, path)
    return 0
