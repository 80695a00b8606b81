"""`mam score`: saved predictions scored again, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.verbs.common import Words, open_terminal


def main(argv: Sequence[str]) -> int:
    """Score one run again, and write the result beside it."""
    words = Words(
        "score", "RUN [normalizer=NAME] [seed=N] [plugins=[...]]", "mam score outputs/RUN normalizer=whisper_english"
    )
    words.add_argument("run", metavar="RUN", help="folder of a finished run")
    words.key("normalizer", "NAME", "text normalisation before scoring (default: as in the run)")
    words.key("seed", "N", "seed of the significance test and its interval (default: as in the run)")
    words.plugins()
    options = words.read(argv)
    terminal = open_terminal()
    from mam.report.run_table import show_run
    from mam.runs.rescore import rescore

    result, path = rescore(Path(options.run), options.normalizer, options.seed)
    show_run(terminal, result, path)
    return 0
