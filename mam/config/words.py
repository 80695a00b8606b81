"""Conversion of keys and values to words of a command line, in Hydra's grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from mam.config.schema import VERBATIM
from mam.errors import ConfigError, first_line

# Text that Hydra's grammar reads unchanged without quotes, unlike numbers and constants.
PLAIN = re.compile(r"(?!(?:null|true|false|inf|nan)$)[A-Za-z_][A-Za-z0-9_]*", re.IGNORECASE | re.ASCII)


def verbatim(word: str, multirun: bool = False) -> str:
    """Quote paths and layer lists, so that Hydra does not interpret spaces, commas and brackets in them.

    In a multirun a comma separates values, so a value with a comma needs its own quotes there.
    """
    key, equals, value = word.partition("=")
    if not equals or not value or value[0] in "'\"" or not is_verbatim(key.lstrip("+")):
        return word
    if value == "null" or (multirun and "," in value):
        return word
    return f"{key}={quoted(value)}"


def is_verbatim(key: str) -> bool:
    """Return whether the value of a key is read as it is typed; a list of sources has Hydra's brackets and commas."""
    return key.startswith(VERBATIM) and key != "model.sources"


def word_of(key: str, value: object) -> str:
    """Return ``key=value`` as typed (before the shell's own quoting), such that the value is read unchanged."""
    is_raw = isinstance(value, str) and is_verbatim(key) and value not in ("", "null") and value[0] not in "'\""
    return f"{key}={value if is_raw and '${' not in str(value) else in_grammar(value)}"


def in_grammar(value: object) -> str:
    """Convert a value of JSON's types to Hydra's grammar, with text in quotes unless it is unambiguous."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{in_grammar(key)}:{in_grammar(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(in_grammar, value)) + "]"
    text = str(value).replace("${", "\\${")
    return text if PLAIN.fullmatch(text) else quoted(text)


def listed(word: str) -> list[str]:
    """Return the texts of a word ``key=[a,b]``; raises ConfigError if its value is no list of texts."""
    try:
        value = OverridesParser.create().parse_override(word).value()
    except (HydraException, ValueError, RecursionError) as error:
        raise ConfigError(f"{word}: {first_line(error)}") from error
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ConfigError(f"{word}: must be a list, {word.partition('=')[0]}=[...]")
    return [str(text) for text in value]


def key_values(values: Mapping[str, str], but_for: str = "") -> str:
    """Return ``key=value`` pairs in one line, without the key ``but_for``."""
    return " ".join(f"{key}={value}" for key, value in values.items() if key != but_for)


def quoted(text: str) -> str:
    """Return text in single quotes; a backslash is literal, except before a quote."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", text))
    return f"'{escaped}'"
