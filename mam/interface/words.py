"""From Python arguments to the words of a command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np
from omegaconf import ListConfig, OmegaConf

from mam.config.composer import Composer
from mam.config.override_checks import OF_THE_USER, too_many_values
from mam.config.words import in_grammar, word_of
from mam.errors import ConfigError

FOLDER = "config_dir"


def words_from(words: Sequence[str], options: Mapping[str, Any], has_sweeps: bool = False) -> list[str]:
    """Return the words that arguments stand for: ``lam=0.1`` is ``lam=0.1``, ``data={"limit": 3}`` is ``data.limit=3``.

    Args:
        words: Words as they are typed, which are kept.
        options: Keys of the configuration with their values; a nested mapping sets keys below its own.
        has_sweeps: Whether a list of values for a key that takes one value is a sweep over them.

    Raises:
        ConfigError: A word is not text, or a value cannot be typed.
    """
    wrong = [repr(word) for word in words if not isinstance(word, str) or "=" not in word]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: not of the form 'key=value'. Use 'key=value', or key=value as an argument"
        )
    flat = list(_flat(options))
    listed = {key for key, value in flat if isinstance(value, list)} - {FOLDER}
    sweeps = listed - _list_keys(listed)
    if any(word.startswith("model.sources=") for word in words) or "model.sources" in listed:
        sweeps -= set() if has_sweeps else {"lam"}  # a λ for each of several sources
    if sweeps and not has_sweeps:
        raise ConfigError(f"{', '.join(sorted(sweeps))}: takes one value. Use mam.sweep(...) for several values")
    return [*_folders(options), *words, *(_word(key, value, key in sweeps) for key, value in flat if key != FOLDER)]


def _folders(options: Mapping[str, Any]) -> list[str]:
    """Return the words for one or several folders of configurations; raises ConfigError for anything else."""
    folders = options.get(FOLDER, [])
    listed = folders if isinstance(folders, list | tuple) else [folders]
    wrong = [repr(folder) for folder in listed if not isinstance(folder, str | PathLike)]
    if wrong:
        raise ConfigError(
            f"{FOLDER}: {', '.join(wrong)} is not a folder. Give a path or a list of paths, or leave it out"
        )
    return [f"--config-dir={fspath(folder)}" for folder in listed]


def _list_keys(keys: set[str]) -> set[str]:
    """Return those of ``keys`` whose value is a list."""
    if not keys:
        return set()
    with Composer() as composer:
        base = composer.base()
        return {
            key for key in keys if isinstance(OmegaConf.select(base, key), ListConfig) or key.startswith(OF_THE_USER)
        }


def _word(key: str, value: Any, is_sweep: bool) -> str:
    if is_sweep:
        return f"{key}={','.join(map(in_grammar, value))}"
    return word_of(f"+{key}" if key.startswith(OF_THE_USER) else key, value)


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys with plain values; keys of nested mappings are joined by dots."""
    for name, value in options.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        else:
            yield key, _plain(key, value)


def _plain(key: str, value: Any) -> Any:
    """Return a value as one of JSON's types; ConfigError if it is none."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, list | tuple | range):
        too_many = too_many_values(key, len(value))
        if too_many:
            raise ConfigError(too_many)
        return [_plain(key, each) for each in value]
    if isinstance(value, str | int | float | None):
        return value
    raise ConfigError(f"{key}: cannot be a {type(value).__name__}. Give text, numbers or lists")
