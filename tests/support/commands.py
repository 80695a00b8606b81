"""The commands that pages tell their readers to give: found in fenced blocks and between backticks."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`((?:mam|make|torchrun) [^`]+)`")
GIVEN = {  # what a reader puts in place of a name in capitals
    "OWNER/NAME": "owner/name",
    "FOLDER": "here",
    "COMMIT": "0" * 40,
    "HASH": "0" * 64,
    "FILE": "here.txt",
    "COLUMN": "speaker",
    "CODE": "it",
    "TARGET": "owner/target",
    "SOURCE": "owner/source",
    "BASE": "owner/base",
    "NAME": "none",
    "RUN": "outputs/run",
    "DIR": "folder",
    "A": "outputs/a",
    "B": "outputs/b",
}


@dataclass(frozen=True)
class Command:
    """A command of a page, as words."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words, with what a reader puts in place of names in capitals; without settings of the environment."""
        words = shlex.split(self.text, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        return [_given(word) for word in words]


def _given(word: str) -> str:
    return re.sub(r"\b([A-Z]+(?:/NAME)?)\b", lambda match: GIVEN.get(match[1], match[1]), word)


def fenced(page: Path) -> list[Command]:
    """The commands of the blocks of a page that are meant for a shell."""
    lines = [
        line
        for language, block in FENCE.findall(page.read_text(encoding="utf-8"))
        if language == "sh"
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [Command(page.name, line) for line in lines if shlex.split(line, comments=True)]


def inline(page: Path) -> list[Command]:
    """The commands between backticks; those that only name a form (``mam VERB``, ``...``) are none."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = [" ".join(span.split()) for span in SPAN.findall(text)]
    return [
        Command(page.name, span) for span in found if not re.search(r"\.\.\.|…|\bVERB\b| \[|[|]|\*|^mam \w+$", span)
    ]
