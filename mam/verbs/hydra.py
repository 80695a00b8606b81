"""Questions that Hydra itself answers: the composed configuration, information, shell completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mam.errors import ConfigError

CONFIGURED = ("run", "inspect", "merge")  # the verbs whose words are a configuration


def answer(argv: Sequence[str], verbs: Sequence[str]) -> int:
    """Pass the words to Hydra; ``verbs`` are the completions of the first word."""
    import logging

    import hydra

    import mam.config.schema  # noqa: F401  # registers the schema

    logging.raiseExceptions = False  # no traceback for a closed pipe, as in `mam run --info | head`

    def no_task(config: object) -> None:
        raise AssertionError("Hydra only answers questions here")

    line = os.environ.get("COMP_LINE", "").split(" ", 2)  # Hydra's completion knows programs, but no verbs
    if len(line) == 2:
        print(" ".join(verb for verb in verbs if verb.startswith(line[1])))
        return 0
    if len(line) == 3 and line[1] not in CONFIGURED:
        return 0
    if len(line) == 3:
        os.environ["COMP_LINE"] = f"{line[0]} {line[2]}"
    from mam.config.composer import Composer
    from mam.config.words import verbatim

    with Composer() as composer:
        sys.argv = [sys.argv[0], *(verbatim(composer.spelled(word)) for word in argv)]
    try:
        hydra.main(version_base="1.3", config_path="pkg://mam.conf", config_name="config")(no_task)()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return 0
