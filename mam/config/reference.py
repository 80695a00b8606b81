"""The meaning and default of every key of a configuration, and a line about every choice.

They are read from the annotations of the schema, from registries, and from the opening comments of the files in conf/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import MISSING
from typing_extensions import Doc

from mam.config.search import ONLY_MAMS, SearchPath
from mam.config.words import in_grammar
from mam.registry import summary_of_choice
from mam.scoring.bounds import OneOf


@dataclass(frozen=True)
class KeyDoc:
    """A key with its default as typed on a command line; "" if it has none and a value is required.

    ``choices`` are the allowed values, if they are listed.
    """

    key: str
    default: str
    meaning: str
    choices: tuple[str, ...] = ()


def key_docs(kind: Any, prefix: str = "") -> Iterator[KeyDoc]:
    """Yield every key of a dataclass of the schema; keys of nested dataclasses have dotted names."""
    hints = get_type_hints(kind, include_extras=True)
    instance = kind()
    for field in fields(kind):
        value = getattr(instance, field.name)
        if is_dataclass(value):
            yield from key_docs(type(value), f"{prefix}{field.name}.")
            continue
        notes = getattr(hints[field.name], "__metadata__", ())
        meaning = next((note.documentation for note in notes if isinstance(note, Doc)), "")
        default = "" if value == MISSING else in_grammar(value)
        listed = next((note for note in notes if isinstance(note, OneOf)), None)
        choices = () if listed is None else (*listed.also, *listed.names)
        yield KeyDoc(f"{prefix}{field.name}", default, meaning, choices)


def comment_of(group: str, name: str, search: SearchPath = ONLY_MAMS) -> str:
    """Return the opening comment of a file of a group, such as ``model`` or ``hydra/launcher``; "" without one.

    Of a choice that a plug-in registers it is the first line of the docstring.
    """
    comments = re.findall(r"(?:^|  )# (?!@)(.+)$", search.text(f"{group}/{name}"), re.MULTILINE)
    return str(comments[0]) if comments else summary_of_choice(group, name)


def files_of(group: str, search: SearchPath = ONLY_MAMS) -> dict[str, str]:
    """Return the choices of a group by name, each with its opening comment."""
    return {name: comment_of(group, name, search) for name in search.names(group)}


def line_about(entry: Any) -> str:
    """Return a line about an entry of a registry: its summary, or the first line of its docstring.

    The errors that a function raises are left out.
    """
    function = getattr(entry, "func", entry)  # of a partial
    line = entry if isinstance(entry, str) else getattr(entry, "summary", None)
    doc = (getattr(function, "__doc__", None) or "").strip()
    return str(line or next(iter(doc.splitlines()), "")).split(" Raises ")[0].rstrip(".")
