"""Nodes of OmegaConf: the schema, and keys that are set and restored."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mam.config.schema import Config
from mam.errors import ConfigError


@cache
def schema() -> DictConfig:
    """Return the schema of a run as a node to merge with, which must not be changed; making it takes long."""
    node: DictConfig = OmegaConf.structured(Config)
    return node


@contextmanager
def keys_set(config: DictConfig, values: Iterable[tuple[str, Any]]) -> Iterator[None]:
    """Set keys as Hydra would, and restore them afterwards, because copying the whole configuration is slow.

    Raises:
        ConfigError: There is no such key.
        OmegaConfBaseException: A value is not of the key's type.
    """
    before: list[tuple[str, Any]] = []
    try:
        for key, value in values:
            if not has_key(config, key):
                raise ConfigError(f"{key}: there is no such key")
            parent, name = _place_of(config, key)
            before.append((key, copy.deepcopy(parent._get_node(name))))
            OmegaConf.update(config, key, value, merge=True)
        yield
    finally:
        for key, node in reversed(before):
            parent, name = _place_of(config, key)  # anew: a later word may have replaced the node above
            node._set_parent(parent)
            parent.__dict__["_content"][name] = node


def has_key(config: DictConfig, key: str) -> bool:
    """Return whether there is a node of this dotted key; it may have no value yet."""
    parent, name = _place_of(config, key)
    return isinstance(parent, DictConfig) and name in parent.keys()  # noqa: SIM118  # "in" leaves out what has no value


def _place_of(config: DictConfig, key: str) -> tuple[Any, str]:
    """Return the node that holds a key, and the key's last name."""
    above, _, name = key.rpartition(".")
    return (OmegaConf.select(config, above) if above else config), name
