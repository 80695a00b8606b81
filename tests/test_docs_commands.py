"""Every command of the README and of the pages is one that mam and make take; nothing is computed."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from support.commands import FENCE, PAGES, ROOT, Command, fenced, inline

from mam.config.compose import jobs
from mam.config.search import split_search
from mam.launch.settings import split_words
from mam.verbs import VERBS
from mam.verbs.common import Words, refuse_meaningless
from mam.verbs.run import FROM, MULTIRUN

# Pages whose blocks other tests run as they are written.
RUN_ELSEWHERE = ("add-a-data-set.md", "add-a-method.md", "add-a-model.md", "add-a-normalizer.md", "plugins.md")
PROGRAMS = (
    "mam",
    "make",
    "pip",
    "python",
    "torchrun",
    ".",
    "hf",
    "eval",
    "CUDA_VISIBLE_DEVICES",
    "git",
    "scripts/versions.sh",
)
TARGETS = set(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
MAKE = {name for line in TARGETS for name in line.split()} | {
    name
    for line in re.findall(r"^\.PHONY: (.+(?:\\\n.+)*)", (ROOT / "Makefile").read_text(), re.M)
    for name in line.split()
}
FENCED = [command for page in PAGES for command in fenced(page) if page.name not in RUN_ELSEWHERE]
INLINE = [command for page in PAGES for command in inline(page) if page.name not in RUN_ELSEWHERE]


class ParsedError(Exception):
    """Raised in place of what a verb would do with its words."""


@pytest.fixture(autouse=True)
def own_pair():
    """The pair of `own-models.md`, where a reader has put it."""
    page = (ROOT / "docs" / "own-models.md").read_text()
    found = re.search(r"New file `([^`]+)`:\n\n```yaml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    path = Path(found[1])
    path.parent.mkdir(parents=True)
    path.write_text(found[2])


def test_there_are_commands():
    assert len(FENCED) > 100 and len(INLINE) > 40
    assert {command.words[0] for command in FENCED} <= set(PROGRAMS)


@pytest.mark.parametrize("command", [*FENCED, *INLINE], ids=lambda command: f"{command.page}: {command.text}")
def test_a_command_is_taken(command: Command, monkeypatch):
    program, *words = command.words
    if program == "make":
        assert_made(words)
    elif program == "torchrun":
        assert "-m" in words, command.text
        taken("mam", words[words.index("-m") + 1 :][1:], monkeypatch)
    elif program == "mam":
        taken(program, words, monkeypatch)
    elif words[:1] == ["-c"]:
        ast.parse(words[1])


def assert_made(words: list[str]) -> None:
    """The targets exist, and the variables are read."""
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert (
            name in MAKE
            or (is_variable and f"$({name})" in (ROOT / "Makefile").read_text())
            or name == "PIP_CONSTRAINT"
        ), word


def taken(program: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """mam takes the words: those of a run are composed, those of other verbs parsed."""
    verb, *words = words
    if verb.startswith("--"):
        assert verb in ("--version", "--help", "--shell-completion"), verb
        return
    assert verb in VERBS, verb
    if "--help" in words:
        return
    if verb == "run":
        composed(words)
    elif verb in ("inspect", "merge"):
        parsed(verb, words, monkeypatch)
        mine = [word for word in words if "=" in word and not word.startswith("out=")]
        more = ("data", "calibration", "evaluate") if "--similarity" in words else ()
        assert not refuse_meaningless(verb, mine, more)
        composed(mine)
    else:
        parsed(verb, words, monkeypatch)


def composed(words: list[str]) -> None:
    """The configuration of a run is composed and checked; what only a flag says is left out."""
    for flag in (FROM, "--cfg"):
        if flag in words:
            place = words.index(flag)
            del words[place : place + 2]
    if "--config-dir" in words:
        return  # a folder that the reader has written
    search, words = split_search(words)
    multirun = any(word in MULTIRUN for word in words)
    keys = [word for word in words if word not in MULTIRUN]
    assert all("=" in word for word in keys), keys
    assert jobs(split_words(keys)[0], multirun, search).jobs


def parsed(verb: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser of the verb takes the words."""
    read = Words.read

    def read_alone(self: Words, argv: list[str]) -> None:
        read(self, argv)
        raise ParsedError

    monkeypatch.setattr(Words, "read", read_alone)
    with pytest.raises(ParsedError):
        import_module(f"mam.verbs.{verb}").main(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_python_compile(page):
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(text)
