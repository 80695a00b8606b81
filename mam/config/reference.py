"""The meaning and default of every key of a configuration, and a line about every choice.

They are read from the annotations of the schema, from registries, and from the opening comments of the files in conf/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from importlib.resources import files
from typing import Any, get_type_hints

from omegaconf import MISSING
from typing_extensions import Doc

from mam.config.words import in_grammar
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


def comment_of(group: str, name: str) -> str:
    """Return the opening comment of a file of a group, such as ``model`` or ``hydra/launcher``; "" without one."""
    path = files("mam.conf").joinpath(*group.split("/"), f"{name}.yaml")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    comments = re.findall(r"(?:^|  )# (?!@)(.+)$", text, re.MULTILINE)
    return str(comments[0]) if comments else ""


def files_of(group: str) -> dict[str, str]:
    """Return the files of a group by name, each with its opening comment."""
    entries = files("mam.conf").joinpath(*group.split("/")).iterdir()
    names = sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))
    return {name: comment_of(group, name) for name in names}


def line_about(entry: Any) -> str:
    """Return a line about an entry of a registry: its summary, or the first line of its docstring.

    The errors that a function raises are left out.
    """
    function = getattr(entry, "func", entry)  # of a partial
    line = entry if isinstance(entry, str) else getattr(entry, "summary", None)
    doc = (getattr(function, "__doc__", None) or "").strip()
    return str(line or next(iter(doc.splitlines()), "")).split(" Raises ")[0].rstrip(".")
