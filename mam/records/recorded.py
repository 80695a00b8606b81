"""Configurations that runs recorded, as objects of this version."""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Mapping
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf, ValueNode
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from mam.config.checks import problems
from mam.config.data import AUTO
from mam.config.nodes import keys_set, schema
from mam.config.schema import Config
from mam.errors import ConfigError, MamError, RecordError, bullets, first_line
from mam.records.earlier import renamed
from mam.records.validity import AGAIN
from mam.small_files import YAML_PARSER, parse_yaml

ELSEWHERE: dict[str, list[str]] = {
    "track": [],
    "train.report_to": [],
}  # trackers of the original machine need not be installed here
SPECIAL = ("${", "???")  # interpolations and missing values, which only the whole can resolve
BLOCK = re.compile(r"^(?=[^\s#-])", re.MULTILINE)  # where a top-level key begins
INVALID = (OSError, ValueError, TypeError, AttributeError, AssertionError, RecursionError, OmegaConfBaseException)
Used = tuple[tuple[str, Any], ...]  # dotted keys and the values that a run used for them


class Loader(YAML_PARSER):  # type: ignore[misc]  # the class depends on how PyYAML was built
    """OmegaConf's loader, but for its parser, which is ten times as fast in C."""

    yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping; a key that stands in it twice is an error."""
        keys = [key.value for key, _ in node.value if key.tag == yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"found duplicate key {twice}", node.start_mark)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


@lru_cache(maxsize=64)  # of some 50 kB each
def recorded(path: Path, text: str, used: Used, has_plugins: bool, registered: Hashable) -> Config:
    """Return the configuration in the text of a run's config.yaml, not to be changed: several readers ask for it.

    Args:
        path: the file, for messages.
        text: its content.
        used: values that replace the recorded ones, unless they are None or auto.
        has_plugins: whether names may be those of plug-ins that are not loaded here.
        registered: what is registered here, which decides what is valid.

    Raises:
        RecordError: no configuration, or a key or a value that this version does not know.
    """
    del registered  # a part of the cache's key
    try:
        config = None if any(special in text for special in SPECIAL) else _assembled(text)
        config = _used_here(config or _object(_node(parse_yaml(text, path, Loader))), used)
        faults = problems(config, has_plugins)
    except MamError as error:
        raise RecordError(f"{error} {AGAIN}") from error
    except INVALID as error:
        raise RecordError(f"{path}: cannot be read ({first_line(error)}). {AGAIN}") from error
    if faults:
        raise RecordError(f"{path}: comes from another version or was changed: {bullets(faults)}. {AGAIN}")
    return config


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return a configuration with other values for some dotted keys.

    Raises:
        ConfigError: an invalid change.
    """
    node = OmegaConf.structured(config)
    try:
        with keys_set(node, changes.items()):
            config = _object(node)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{', '.join(changes)}: {first_line(error)}") from error
    tolerated = problems(config, has_plugins=True)
    faults = [fault for fault in problems(config) if fault in tolerated or fault.startswith(tuple(changes))]
    if faults:
        raise ConfigError(faults)
    return config


def _node(plain: Any) -> DictConfig:
    """Return recorded values as a node of the schema."""
    node = OmegaConf.merge(schema(), renamed(OmegaConf.create(plain)))
    assert isinstance(node, DictConfig)
    return node


def _object(node: DictConfig) -> Config:
    config = OmegaConf.to_object(node)
    assert isinstance(config, Config)
    return config


def _used_here(config: Config, used: Used) -> Config:
    """Set what the run used for settings that it left open, and what does not apply on this machine."""
    for key, value in [*ELSEWHERE.items(), *used]:
        if value not in (None, AUTO):
            *above, name = key.split(".")
            setattr(reduce(getattr, above, config), name, copy.copy(value))
    if config.model.task == "events":  # runs older than auto recorded the default of speech recognition
        config.data.normalizer = AUTO
    return config


def _assembled(text: str) -> Config | None:
    """Return a configuration if it has each top-level key and each can be read alone, else None.

    The runs of a sweep share nearly all of their text, and what they share is read once.
    """
    values: dict[str, Any] = {}
    try:
        for block in filter(None, BLOCK.split(text)):
            part = _part(block)
            if values.keys() & part.keys():
                return None
            values |= copy.deepcopy(part)
    except (MamError, *INVALID):
        return None  # the whole is read instead, and says what is wrong
    return Config(**values) if values.keys() == schema().keys() else None


@lru_cache(maxsize=512)
def _part(block: str) -> dict[str, Any]:
    """Return the values of the top-level keys in a piece of a configuration, not to be changed."""
    values = {}
    for key, value in parse_yaml(block, "", Loader).items():
        node = schema()._get_node(key)
        if isinstance(node, DictConfig) and isinstance(value, dict):
            values[key] = OmegaConf.to_object(OmegaConf.merge(node, value))
        elif isinstance(node, ValueNode | ListConfig):
            copied = copy.deepcopy(node)
            copied._set_value(value)
            values[key] = copied._value() if isinstance(copied, ValueNode) else OmegaConf.to_object(copied)
        else:
            raise TypeError(key)
    return values
