"""Helpers shared by several verbs."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mam.errors import ConfigError, shown
from mam.verbs import VERBS

if TYPE_CHECKING:
    from mam.config.job import Job
    from mam.config.schema import Config
    from mam.config.search import SearchPath
    from mam.terminal import Terminal


def open_terminal() -> Terminal:
    """Return the terminal, and redirect the messages of libraries to mam.log."""
    from mam.libraries import quiet_libraries
    from mam.terminal import Terminal

    quiet_libraries()
    return Terminal(quiet=os.environ.get("RANK", "0") != "0")  # only one of several processes writes


def refuse_meaningless(verb: str, words: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """Return an error for each word that has no meaning for a verb that only merges.

    Such a verb takes a pair of models and the options of the merge, and the keys in ``more``.
    """
    from mam.merging.options import FILE_OPTION_NAMES

    keys = {"model", "seed", "plugins", *FILE_OPTION_NAMES, *more}
    meaningless = [word for word in words if word.partition("=")[0].partition(".")[0] not in keys]
    return [f"{word}: does not apply to mam {verb}, which reads no data. Leave it out" for word in meaningless]


def merge_config(words: Sequence[str], search: SearchPath) -> Config:
    """Return the configuration of a verb that only merges, with the shapes of both models. Raises ConfigError."""
    from mam.config.compose import jobs
    from mam.runs.shapes import with_shapes

    (job,) = with_shapes(jobs(words, search=search).jobs)
    say_hidden([job])
    return job.config


def say_hidden(plan: Sequence[Job]) -> None:
    """Tell on standard error which of the user's own configuration files hide mam's."""
    hidden = {file.name: file.place for job in plan for file in job.own_files if file.hides}
    for name, place in hidden.items():
        print(shown(f"mam: {name.replace('/', '=')} is taken from {place} instead of mam's own files"), file=sys.stderr)


class Words(argparse.ArgumentParser):
    """A parser for the words of a verb: positional arguments, flags and ``key=value``, in any order.

    If a key is repeated, the last value counts. Invalid words raise a ConfigError with the usage.
    """

    def __init__(self, verb: str, usage: str, example: str, is_configured: bool = False) -> None:
        """Create the parser; with ``is_configured``, unknown key=value words belong to the configuration."""
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
        """Accept ``name=VALUE``; the value is None if it is missing."""
        self._keys.add(name)
        self.add_argument(f"--{name}", metavar=metavar, help=meaning, choices=choices)

    def search(self, argv: Sequence[str]) -> tuple[SearchPath, list[str]]:
        """Take the words about configurations of the user's own out of ``argv``; exits after ``--help``."""
        if not {"--help", "-h"}.isdisjoint(argv):
            self.read(["--help"])
        from mam.config.search import split_search

        return split_search(argv)

    def plugins(self) -> None:
        """Accept ``plugins=[...]``, whose plug-ins `read` loads, with all entry points."""
        self.key("plugins", "[FILE.py,...]", "plug-ins to load: files, folders or modules")

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the words, and load plug-ins. Raises ConfigError for invalid ones; exits after ``--help``."""
        keys = [word.partition("=")[0] for word in argv if _is_setting(word)]
        unknown = [key for key in keys if key not in self._keys]
        if unknown and not self._is_configured:
            self.error(f"{', '.join(unknown)}: not a key of this command")
        options = self.parse_intermixed_args(
            [f"--{word}" if _is_setting(word) and word.partition("=")[0] in self._keys else word for word in argv]
        )
        if "plugins" in self._keys:
            from mam.config.words import listed
            from mam.extensions import use

            use(listed(f"plugins={options.plugins}") if options.plugins else [])
        return options

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with the message of argparse."""
        raise ConfigError(f"{message}. Usage: {self.usage}")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Flush the help and exit, so that a closed pipe raises its error here."""
        sys.stdout.flush()
        super().exit(status, message)


def _is_setting(word: str) -> bool:
    """Return whether a word is key=value, and not the name of a file or folder in which there is a ``=``."""
    key, equals, _ = word.partition("=")
    return bool(equals) and re.fullmatch(r"[+~]*[\w./@]+", key) is not None and not Path(word).exists()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that shows keys as they are typed, ``key=VALUE``."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if action.option_strings and action.metavar:
            return f"{action.dest}={action.metavar}"
        return super()._format_action_invocation(action)
