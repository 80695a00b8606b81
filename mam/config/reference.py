"""The meaning and default of every key of a configuration, from the annotations of the schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import MISSING
from typing_extensions import Doc

from mam.config.words import in_grammar


@dataclass(frozen=True)
class KeyDoc:
    """A key with its default as typed on a command line; "" if it has none and a value is required."""

    key: str
    default: str
    meaning: str


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
        yield KeyDoc(f"{prefix}{field.name}", default, meaning)
