"""Words about several sources, which set more than one key."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from mam.config.model import ShapeConfig
from mam.errors import ConfigError


def keys_of_words(words: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the keys that words set, with their values; what a word about several sources resets comes first.

    Raises:
        ConfigError: As in `keys_of`, or both a list of λ and shares are given.
    """
    ordered = sorted(words, key=lambda word: word[0] != "model.sources")
    if any(key == "lam" and isinstance(value, list) for key, value in ordered) and "shares" in dict(ordered):
        raise ConfigError("shares: has no effect, since lam is a list. Leave shares out, or give lam as one number")
    return [pair for key, value in ordered for pair in keys_of(key, value)]


def keys_of(key: str, value: Any) -> list[tuple[str, Any]]:
    """Return the keys that a word sets, with their values.

    ``lam=[0.05,0.02]`` sets λ to the sum and the shares of the sources to its parts. ``model.sources=[a,b]`` makes the
    first the source, and resets what was known of another one: its revision, SHA-256 and shape.

    Raises:
        ConfigError: A list of λ has something that is no λ, or adds up to more than 1.
    """
    if key == "lam" and isinstance(value, list):
        total = _sum_of(value)
        return [("lam", total), ("shares", value if total else [])]
    if key == "model.sources" and isinstance(value, list) and value:
        shape: dict[str, Any] = {f"model.source_shape.{field.name}": None for field in fields(ShapeConfig)}
        reset: dict[str, Any] = {
            "model.source_revision": "main",
            "model.source_sha256": None,
            **shape,
            "model.further_shapes": [],
        }
        return [(key, value), ("model.source", value[0]), *reset.items()]
    return [(key, value)]


def _sum_of(lams: list[Any]) -> float:
    """Return the sum of the λ of several sources."""
    said = ",".join(map(str, lams))
    if not lams or not all(
        isinstance(lam, int | float) and not isinstance(lam, bool) and 0 <= lam <= 1 for lam in lams
    ):
        raise ConfigError(f"lam=[{said}]: each source needs a number from 0 to 1")
    total = round(math.fsum(lams), 12)
    if total > 1:
        raise ConfigError(f"lam=[{said}]: the λ of all sources add up to {total:g}. The sum must be 1 or less")
    return total
