"""Questions that Hydra itself answers: the composed configuration, information, shell completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mam.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath

    from mam.config.search import SearchPath

ASKED = [f"{act}={shell}" for act in ("install", "uninstall", "query") for shell in ("bash", "fish", "zsh")]
CONFIGURED = ("run", "inspect", "merge")  # the verbs whose words are a configuration


def complete(argv: Sequence[str], verbs: Sequence[str]) -> int:
    """Complete the words in ``$COMP_LINE``, or print what a shell needs to do so.

    Hydra's completion knows programs, but no verbs.
    """
    if len(argv) != 2 or argv[1] not in ASKED:
        raise ConfigError(f"{' '.join(argv[:5])}: use mam --shell-completion install=SHELL; SHELL is bash, fish or zsh")
    if argv[1].startswith("query=") and not os.environ.get("COMP_LINE", "").strip():
        raise ConfigError(f"{' '.join(argv)}: only shells call this, with the line in COMP_LINE. Use install=SHELL")
    program, _, rest = os.environ.get("COMP_LINE", "").partition(" ")
    verb, has_words, typed = rest.partition(" ")
    if program and not has_words:
        print(" ".join(name for name in verbs if name.startswith(verb)))
        return 0
    if program and verb not in CONFIGURED:
        return 0
    from mam.config.search import ONLY_MAMS, split_search

    # The last word is being typed: a flag there has no folder yet.
    before, _, last = typed.rpartition(" ")
    try:
        search, words = split_search(before.split())
    except ConfigError:  # the places of the user's own files are not usable yet; complete from mam's
        search, words = ONLY_MAMS, before.split()
    if program:
        os.environ["COMP_LINE"] = " ".join([program, *words, last])
    return answer(argv, search)


def answer(argv: Sequence[str], search: SearchPath) -> int:
    """Pass the words to Hydra."""
    import logging

    import hydra
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    from mam.config.composer import Composer
    from mam.config.words import verbatim

    logging.raiseExceptions = False  # no traceback for a closed pipe, as in `mam run --info | head`

    def no_task(config: object) -> None:
        raise AssertionError("Hydra only answers questions here")

    class OwnPlaces(SearchPathPlugin):
        """Hydra's way to search further places."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search.add_to(search_path)

    Plugins.instance().register(OwnPlaces)
    with Composer(search) as composer:
        sys.argv = [sys.argv[0], *(verbatim(composer.spelled(word)) for word in argv)]
    try:
        hydra.main(version_base="1.3", config_path="pkg://mam.conf", config_name="config")(no_task)()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return 0
