"""`mam inspect`: a preview of a merge, without data."""

from __future__ import annotations

from collections.abc import Sequence

from mam.errors import ConfigError
from mam.verbs.common import Words, merge_config, open_terminal, refuse_meaningless


def main(argv: Sequence[str]) -> int:
    """Show tables, or JSON with ``--json``."""
    words = Words("inspect", "[key=value ...] [--json]", "mam inspect model=hubert_vit lam=0.1", is_configured=True)
    words.add_argument("words", metavar="key=value", nargs="*", help="of the configuration, as in `mam run --help`")
    words.add_argument("--json", action="store_true", help="everything, for programs")
    search, argv = words.search(argv)
    options = words.read(argv)
    complaints = refuse_meaningless("inspect", options.words)
    if complaints:
        raise ConfigError(complaints)

    import json

    config = merge_config(options.words, search)
    terminal = open_terminal()
    from mam.evaluation.model_pair import checked_parents
    from mam.report.inspection import show_inspection
    from mam.runs.inspection import inspect

    parents = checked_parents(config)
    with terminal.status("reading both attentions"):
        inspected = inspect(config, parents)
    if options.json:
        terminal.say(json.dumps(inspected.as_dict(), indent=2, ensure_ascii=False))
    else:
        show_inspection(terminal, inspected)
    return 0
