"""`mam inspect`: a preview of a merge, without data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mam.errors import ConfigError
from mam.verbs.common import Words, merge_config, open_terminal, refuse_meaningless

READ_FOR_SIMILARITY = ("data", "calibration", "device", "threads", "cache_dir", "evaluate")


def main(argv: Sequence[str]) -> int:
    """Show tables, or JSON with ``--json``."""
    words = Words(
        "inspect", "[key=value ...] [--similarity] [--json]", "mam inspect model=hubert_vit lam=0.1", is_configured=True
    )
    words.add_argument("words", metavar="key=value", nargs="*", help="key of the configuration (see `mam run --help`)")
    words.add_argument(
        "--similarity",
        action="store_true",
        help="measure how similar all layers are on the calibration data (data=, calibration.*)",
    )
    words.add_argument("--json", action="store_true", help="print everything as JSON")
    search, argv = words.search(argv)
    options = words.read(argv)
    complaints = refuse_meaningless("inspect", options.words, READ_FOR_SIMILARITY if options.similarity else ())
    if complaints:
        raise ConfigError(complaints)

    import json

    config = merge_config(options.words, search)
    terminal = open_terminal()
    from mam.evaluation.model_pair import checked_parents
    from mam.report.inspection import show_inspection, show_similarities
    from mam.runs.inspection import inspect

    parents = checked_parents(config)
    found, partners = None, None
    if options.similarity:
        from mam.evaluation.similarity import partners_of
        from mam.evaluation.workbench import Workbench

        found = Workbench(terminal).activations(config).similarities()
        partners = partners_of(found)
    with terminal.status("reading both attentions"):
        inspected = inspect(config, parents, partners)
    if options.json:
        similarity = {} if found is None else {"similarity": [asdict(by_measure) for by_measure in found]}
        terminal.say(json.dumps(inspected.as_dict() | similarity, indent=2, ensure_ascii=False))
        return 0
    show_inspection(terminal, inspected)
    if found is not None:
        show_similarities(terminal, found)
    return 0
