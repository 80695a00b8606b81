"""From the words of a command line to checked configurations. Hydra composes; every problem is reported together."""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mam.checks import problems
from mam.config import VERBATIM, VOLATILE, Config
from mam.errors import ConfigError, choices, first_line
from mam.files import sha256_json

BESIDE = ("none", "shrink")  # the controls of a sweep that names none


@dataclass(frozen=True)
class Job:
    """One checked configuration. ``overrides`` are the words that make it from the defaults."""

    config: Config
    overrides: tuple[str, ...]
    composed: DictConfig  # with Hydra's own node, for the record

    @property
    def resolved(self) -> dict[str, Any]:
        """The configuration as plain values, without what does not change results."""
        plain: dict[str, Any] = OmegaConf.to_container(OmegaConf.structured(self.config))  # type: ignore[assignment]
        for key in VOLATILE:
            *above, last = key.split(".")
            node = plain
            for name in above:
                node = node[name]
            node.pop(last)
        return plain

    def varied(self, plan: Sequence[Job]) -> dict[str, str]:
        """The words of this job that not all jobs of ``plan`` share, as key -> value."""
        shared = set.intersection(*(set(job.overrides) for job in plan))
        words = dict(word.split("=", 1) for word in self.overrides if word not in shared)
        arm = words.pop("study.arm", None)
        if arm is None:
            return words
        return {"arm": arm} | {key: value for key, value in words.items() if key in self.config.study.axes}

    @property
    def signature(self) -> str:
        """8 hex digits of the resolved configuration; names the folder and nothing else."""
        return sha256_json(self.resolved)[:8]


def jobs(words: Sequence[str], multirun: bool = False) -> list[Job]:
    """Compose and check. One job, or with ``multirun`` one for each combination of the values given with commas.

    A sweep has `shrink` beside every merge, unless its words say which controls it wants; a control at λ=0 is the
    baseline again and left out.

    Raises:
        ConfigError: lists every word that is wrong and every check that fails.
    """
    with _hydra() as loader:
        right, found = _parse(words, loader, multirun)
        expanded = [list(_expand(word, override)) for word, override in right]
        if multirun and not any(word.startswith("control=") for word in words):
            expanded.append([f"control={name}" for name in BESIDE])
        made: list[Job] = []
        for combination in itertools.product(*expanded):
            try:
                made.append(_job(combination))
            except ConfigError as error:
                found += [problem for problem in error.problems if problem not in found]
        if found:
            raise ConfigError(found)
        return _distinct([job for job in made if not (multirun and _is_empty(job))])


def _is_empty(job: Job) -> bool:
    """Whether it is a control that nothing is merged from."""
    return job.config.lam == 0 and job.config.control != "none"


def study_jobs(study: Job) -> list[Job]:
    """The runs of a study: every combination of its axes, in every arm. A control at λ=0 is the baseline again and
    left out.

    Raises:
        ConfigError: an axis is not a key of the configuration, or is set on the command line too.
    """
    depth = study.config.model.target_shape.layers
    axes = {
        key: _layer_sets(values, depth) if key == "layers.spec" else values
        for key, values in study.config.study.axes.items()
    }
    said = {word.split("=")[0] for word in study.overrides}
    twice = [f"{key}: the study varies it. Say 'study.axes.{key}=[...]' instead" for key in axes if key in said]
    if twice:
        raise ConfigError(twice)
    words = [
        [f"{key}={value if key in VERBATIM else _as_word(value)}" for value in values] for key, values in axes.items()
    ]
    made: list[Job] = []
    with _hydra() as loader:
        _, found = _parse([word for axis in words for word in axis], loader, multirun=False)
        if found:
            raise ConfigError([f"study.axes: {problem}" for problem in found])
        arms = [[*arm_words, f"study.arm={name}"] for name, arm_words in study.config.study.arms.items()] or [[]]
        for combination in itertools.product(*words):
            for arm in arms:
                job = _job((*study.overrides, *combination, *arm))
                if not _is_empty(job):
                    made.append(job)
    return _distinct(made)


def extended(job: Job, words: Sequence[str]) -> Job:
    """The job with further words, of which the last wins. Raises ConfigError."""
    with _hydra():
        return _job((*job.overrides, *words))


def _layer_sets(values: Sequence[Any], depth: int) -> list[Any]:
    """``each``, ``tops`` and ``bottoms`` spelled out for a target of so many layers."""
    sets = {
        "each": [str(layer) for layer in range(depth)],
        "tops": [*(f"top{n}" for n in range(1, depth)), "all"],
        "bottoms": [f"bottom{n}" for n in range(1, depth)],
    }
    return [spec for value in values for spec in sets.get(value, [value])]


def _distinct(made: Sequence[Job]) -> list[Job]:
    """Without repetitions of the same run. Raises ConfigError where nothing is to be run."""
    if not made:
        raise ConfigError("no run is left: a list of values is empty, or only controls at λ=0 were asked for")
    return list({(job.signature, job.config.outputs): job for job in made}.values())


@contextmanager
def _hydra() -> Iterator[ConfigLoader]:
    GlobalHydra.instance().clear()
    with initialize_config_module("mam.conf", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def _job(words: Sequence[str]) -> Job:
    """Compose one configuration and check it across fields."""
    try:
        composed = compose("config", overrides=[verbatim(word) for word in words], return_hydra_config=True)
        plain = without_hydra(composed)
        missing = sorted(OmegaConf.missing_keys(plain))
        if missing:
            raise ConfigError([f"{key}: has no value. Say {key}=..." for key in missing])
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(first_line(error)) from error
    assert isinstance(config, Config)
    found = problems(config)
    if found:
        raise ConfigError(found)
    return Job(config, tuple(words), composed)


def without_hydra(composed: DictConfig) -> DictConfig:
    """The run's own keys of a composed configuration."""
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


def _parse(words: Sequence[str], loader: ConfigLoader, multirun: bool) -> tuple[list[tuple[str, Override]], list[str]]:
    """The words that are right, each with what Hydra reads in it, and what is wrong with the others."""
    parser, right, found = OverridesParser.create(loader), [], []
    groups = {group: loader.get_group_options(group, ObjectType.CONFIG) for group in loader.list_groups("")}
    groups.pop("hydra", None)
    base = compose("config")
    for word in words:
        try:
            word.encode()
            override = parser.parse_override(verbatim(word, multirun))
        except UnicodeEncodeError:
            found.append(f"{word!r}: is not UTF-8. Rename the file or folder, or link to it.")
            continue
        except HydraException as error:
            found.append(f"{word}: {first_line(error)}")
            continue
        problem = _problem(override, groups, base, multirun)
        if problem:
            found.append(problem)
        else:
            right.append((word, override))
    return right, found


def _problem(override: Override, groups: dict[str, list[str]], base: DictConfig, multirun: bool) -> str | None:
    """What is wrong with one override, taken alone."""
    key, line = override.key_or_group, override.input_line or ""
    if key.startswith(("hydra.", "hydra/")):
        return f"{line}: mam lays out folders, logs and sweeps itself; set outputs=FOLDER instead of Hydra's own keys"
    if override.is_sweep_override() and not multirun:
        return f"{line}: several values need --multirun"
    if override.is_delete() or (override.is_add() and not key.startswith("study.axes.")):
        return f"{line}: mam has no keys to add or delete; set one that exists (mam run --cfg job shows them)"
    try:
        values = _values(override)
    except (HydraException, ValueError, ZeroDivisionError, TypeError) as error:
        return f"{line}: no list of values ({first_line(error)}). Write them with commas"
    if key in groups:
        unknown = [value for value in values if value not in groups[key]]
        return f"{key}={unknown[0]}: not known. Choose one of: {choices(groups[key])}" if unknown else None
    if key == "study.axes":
        return f"{line}: set one axis at a time, study.axes.KEY=[...]"
    if key.startswith("study.axes."):
        if not isinstance(values[0], list) or not values[0]:
            return f"{line}: an axis is a list of values, study.axes.KEY=[...]"
        return _unknown_key(key.removeprefix("study.axes."), groups, base)
    unknown_key = _unknown_key(key, groups, base)
    if unknown_key:
        return unknown_key
    for value in values:
        try:
            OmegaConf.update(copy.deepcopy(base), key, value)
        except OmegaConfBaseException as error:
            return f"{key}={value}: {first_line(error)}"
    return None


def _unknown_key(key: str, groups: dict[str, list[str]], base: DictConfig) -> str | None:
    known = [*groups, *_leaves(base)]
    if key in known or OmegaConf.is_config(OmegaConf.select(base, key, throw_on_missing=False)):
        return None
    near = difflib.get_close_matches(key, known, n=3) or [name for name in known if "." not in name]
    return f"{key}: there is no such key. Did you mean: {choices(near)}? (mam run --cfg job shows all)"


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            yield from _leaves(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _values(override: Override) -> list[Any]:
    """The value, or the values of a sweep, as Python objects."""
    if not override.is_sweep_override():
        return [override.value()]
    if override.value_type in (ValueType.GLOB_CHOICE_SWEEP, ValueType.INTERVAL_SWEEP):
        raise ValueError("glob and interval sweeps are not supported")
    return [v.text if isinstance(v, QuotedString) else v for v in override.sweep_iterator()]


def _expand(word: str, override: Override) -> Iterator[str]:
    """The word itself, or one word for each value of a sweep."""
    if not override.is_sweep_override():
        yield word
        return
    for value in override.sweep_string_iterator():
        yield f"{override.get_key_element()}={value}"


def verbatim(word: str, multirun: bool = False) -> str:
    """Quote paths and layer lists, so that blanks, commas and brackets in them are not Hydra's grammar.

    In a multirun a comma separates values; there such a value needs quotes of its own.
    """
    key, equals, value = word.partition("=")
    if not equals or not value or value[0] in "'\"" or not key.lstrip("+").startswith(VERBATIM):
        return word
    if value == "null" or (multirun and "," in value):
        return word
    # In Hydra's quotes a backslash means itself, except before a quote.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", value))
    return f"{key}='{escaped}'"


def _as_word(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) and not value.isidentifier() else str(value)
