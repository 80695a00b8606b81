"""`mam inspect`: what a merge would do, without data."""

from __future__ import annotations

from collections.abc import Sequence

from mam.errors import ConfigError
from mam.verbs.common import open_terminal, without_meaning


def main(argv: Sequence[str]) -> int:
    """Tables, or with ``--json`` everything for programs."""
    words = [word for word in argv if word != "--json"]
    found = without_meaning("inspect", words)
    if found:
        raise ConfigError(found)

    import json

    from mam.config.compose import jobs

    config = jobs(words)[0].config
    terminal = open_terminal()
    from mam.evaluation.model_pair import checked_source_and_target
    from mam.report.inspection import show_inspection
    from mam.runs.inspection import inspect

    target, source = checked_source_and_target(config.model)
    with terminal.status("reading both attentions"):
        inspected = inspect(config, target, source)
    if "--json" in argv:
        terminal.say(json.dumps(inspected.as_dict(), indent=2, ensure_ascii=False))
    else:
        show_inspection(terminal, inspected)
    return 0
