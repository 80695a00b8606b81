"""What several verbs need."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from mam.errors import ConfigError
from mam.verbs import VERBS

if TYPE_CHECKING:
    from mam.config.schema import Config
    from mam.terminal import Terminal


def open_terminal() -> Terminal:
    """The terminal; from here on the libraries talk to mam.log, not to it."""
    from mam.terminal import Terminal, quiet_libraries

    quiet_libraries()
    return Terminal(quiet=os.environ.get("RANK", "0") != "0")  # of several processes one talks


def refuse_meaningless(verb: str, words: Sequence[str]) -> list[str]:
    """Return what is wrong with words to a verb that only merges: it has a pair of models, and how they are merged."""
    from mam.merge.options import FILE_OPTION_NAMES

    keys = {"model", "seed", *FILE_OPTION_NAMES}
    meaningless = [word for word in words if word.partition("=")[0].partition(".")[0] not in keys]
    return [f"{word}: has no meaning for mam {verb}, which reads no data" for word in meaningless]


def merge_config(words: Sequence[str]) -> Config:
    """Return the configuration of a verb that only merges, with the shapes of both models. Raises ConfigError."""
    from mam.config.compose import jobs
    from mam.runs.shapes import with_shapes

    return with_shapes(jobs(words).jobs)[0].config


class Words(argparse.ArgumentParser):
    """The words of a verb: places, flags and ``key=value``, in any order; of a key said twice the last counts.

    Words that do not fit are a ConfigError with the usage.
    """

    def __init__(self, verb: str, usage: str, example: str, is_configured: bool = False) -> None:
        """Name the verb; where it ``is_configured``, key=value words that it does not know are its configuration."""
        super().__init__(
            prog=f"mam {verb}",
            usage=f"mam {verb} {usage}",
            description=f"{VERBS[verb][0].upper()}{VERBS[verb][1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self._keys: set[str] = set()
        self._is_configured = is_configured

    def key(self, name: str, metavar: str, meaning: str, choices: Sequence[str] | None = None) -> None:
        """Take ``name=VALUE``, None where it is not said."""
        self._keys.add(name)
        self.add_argument(f"--{name}", metavar=metavar, help=meaning, choices=choices)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Read the words. Raises ConfigError for those that do not fit; exits after ``--help``."""
        keys = [word.partition("=")[0] for word in argv if "=" in word and not word.startswith("-")]
        unknown = [key for key in keys if key not in self._keys]
        if unknown and not self._is_configured:
            self.error(f"{', '.join(unknown)}: not known")
        return self.parse_intermixed_args(
            [f"--{word}" if "=" in word and word.partition("=")[0] in self._keys else word for word in argv]
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found as a ConfigError."""
        raise ConfigError(f"{message}; say: {self.usage}")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit after the help has gone out, so that a closed pipe is met here."""
        sys.stdout.flush()
        super().exit(status, message)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Show keys as they are typed, ``key=VALUE``."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if action.option_strings and action.metavar:
            return f"{action.dest}={action.metavar}"
        return super()._format_action_invocation(action)
