"""`mam run`: one run, a sweep, or a study."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mam.errors import ConfigError, choices
from mam.verbs.common import open_terminal, say_hidden

if TYPE_CHECKING:
    from mam.config.search import SearchPath
    from mam.terminal import Terminal

FROM = "--from"
MULTIRUN = ("--multirun", "-m")
# Flags that Hydra answers, and the values that may follow.
CFG, INFO = ("job", "hydra", "all"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
ASKED = {"--hydra-help": (), "--resolve": (), "--cfg": CFG, "-c": CFG, "--info": INFO, "-i": INFO}
HELP = ("--help", "-h")
PACKAGE = ("--package", "-p")


def main(argv: Sequence[str]) -> int:
    """Check the words and start the run, sweep or study."""
    from mam.config.search import split_search

    again, argv = _taken_from(argv)
    search, argv = split_search(argv)
    if any(word in HELP for word in argv):
        from mam.verbs.help import show_help

        return show_help([word for word in argv if word not in HELP], search)
    words = [word for word in argv if ("=" in word or word.startswith("~")) and not word.startswith("-")]
    flags = [word for word in argv if word.startswith("-")]
    asks_hydra = any(flag.split("=")[0] in (*ASKED, *PACKAGE) for flag in flags)
    answers = _answers(argv) if asks_hydra else set()
    known = {*words, *MULTIRUN, *answers}
    stray = [word for word in argv if word not in known]
    if stray:
        raise ConfigError([f"{word}: neither key=value nor a flag of `mam run`. See mam run --help" for word in stray])

    if asks_hydra:
        from mam.config.compose import jobs
        from mam.launch.settings import split_words
        from mam.verbs.hydra import answer

        if words:
            jobs(split_words(words)[0], search=search)
        return answer(argv, search)
    if again is not None:
        return _make_again(again, words, flags)
    terminal = open_terminal()
    with terminal.begin(shlex.join(["mam", "run", *flags, *words])):
        return _run(terminal, words, any(flag in MULTIRUN for flag in flags), search)


def _run(terminal: Terminal, words: Sequence[str], is_multirun: bool, search: SearchPath) -> int:
    """Start the run, sweep or study."""
    from mam.launch.request import request

    with terminal.status("reading the configuration"):
        asked = request(words, is_multirun, search)
    say_hidden(asked.plan.jobs)
    from mam.launch.start import run_one, run_several
    from mam.report.run_table import show_run

    if asked.study is None and not asked.multirun:
        outcome = run_one(asked.plan.jobs[0], terminal)
        if outcome.status == "skipped":
            terminal.say(f"skipped: this run has finished already, in {outcome.folder} (force=true runs it again)")
        show_run(terminal, outcome.result, outcome.folder)
        return 0
    if asked.plan.adds_baseline:
        terminal.say("added lam=0 to the sweep, as its baseline")
    members = run_several(asked, terminal)
    failed = [member for member in members if member.error and not member.is_unfit]
    return 0 if not failed and any(member.outcome for member in members) else 1


def _answers(argv: Sequence[str]) -> set[str]:
    """Return the flags that Hydra answers and their values, checked. Raises ConfigError."""
    known: set[str] = set()
    following = [*argv[1:], ""]
    for word, after in zip(argv, following, strict=True):
        flag, equals, value = word.partition("=")
        if flag in PACKAGE and any(other.split("=")[0] in ("--cfg", "-c") for other in argv):
            known |= {word, after} if not equals else {word}
        elif flag in ASKED:
            value = value if equals else after
            if ASKED[flag] and value not in ASKED[flag] and (equals or flag in ("--cfg", "-c")):
                raise ConfigError(f"{flag} {value}: not known. Choose one of: {choices(ASKED[flag])}")
            known |= {word, after} if after in ASKED[flag] and not equals else {word}
    return known


def _taken_from(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take ``--from RUN`` out of the words; the folder is None without it. Raises ConfigError if it is missing."""
    for position, word in enumerate(argv):
        flag, equals, folder = word.partition("=")
        if flag == FROM:
            rest = [*argv[:position], *argv[position + (1 if equals else 2) :]]
            folder = folder if equals else "".join(argv[position + 1 : position + 2])
            if not folder:
                raise ConfigError(f"{FROM}: needs the folder of a run. Write {FROM} FOLDER")
            return folder, rest
    return None, list(argv)


def _make_again(folder: str, words: Sequence[str], flags: Sequence[str]) -> int:
    """Make a recorded run again; the exit code is 1 if its predictions differ although nothing else does."""
    if flags:
        raise ConfigError(f"{flags[0]}: cannot be combined with {FROM}, which repeats one run. Leave it out")
    terminal = open_terminal()
    from mam.launch.again import run_again
    from mam.report.run_table import show_run
    from mam.scoring.wording import counted

    with terminal.begin(shlex.join(["mam", "run", FROM, folder, *words])):
        made = run_again(folder, words, terminal)
    show_run(terminal, made.outcome.result, made.outcome.folder)
    if not made.unequal:
        terminal.say(f"the predictions are byte-identical to those of {folder}")
        return 0
    terminal.say(f"predictions differ from those of {folder} in {counted(made.unequal, 'line')}")
    return 0 if made.differences else 1
