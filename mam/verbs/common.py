"""What several verbs need."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mam.errors import ConfigError

if TYPE_CHECKING:
    from mam.terminal import Terminal

MERGE_KEYS = (
    "model",
    "schedule",
    "layers",
    "method",
    "seed=",
    "lam=",
    "parts=",
    "bias=",
    "heads=",
    "pairing=",
    "align=",
    "on_mismatch=",
    "project=",
    "calibration.",  # so that what needs activations can be told why not here
    "control=",
)


def open_terminal() -> Terminal:
    """The terminal; from here on the libraries talk to mam.log, not to it."""
    from mam.terminal import Terminal, quiet_libraries

    quiet_libraries()
    return Terminal(quiet=os.environ.get("RANK", "0") != "0")  # of several processes one talks


def without_meaning(verb: str, words: Sequence[str]) -> list[str]:
    """What is said to a verb that only merges."""
    meaningless = [word for word in words if not word.startswith(MERGE_KEYS)]
    return [f"{word}: has no meaning for mam {verb}, which reads no data" for word in meaningless]


def options(verb: str, argv: Sequence[str], known: Sequence[str], usage: str) -> tuple[list[str], dict[str, str]]:
    """Positions and key=value words of a verb that takes no configuration. Raises ConfigError for unknown keys."""
    places = [word for word in argv if "=" not in word and not word.startswith("-")]
    found = dict(word.split("=", 1) for word in argv if "=" in word and not word.startswith("-"))
    unknown = [word for word in argv if word.startswith("-")] + [key for key in found if key not in known]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)}: not known; say: mam {verb} {usage}")
    return places, found
