"""From the words of a command line to checked configurations. Hydra composes; every problem is reported together."""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
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

from mam.config.checks import problems
from mam.config.inputs import name_languages
from mam.config.merging_checks import idle_lam, reads_calibration, reads_lam, unaligned, with_plain_lam, without_unread
from mam.config.schema import VOLATILE, Config
from mam.config.words import verbatim
from mam.errors import ConfigError, choices, first_line
from mam.files import sha256_json

BESIDE = ("none", "shrink")  # the controls of a sweep that names none


@dataclass(frozen=True)
class Job:
    """One checked configuration. ``overrides`` are the words that make it from the defaults.

    ``composed`` is what was said, with Hydra's own node, for the record; ``config`` is `with_plain_lam`.
    """

    config: Config
    overrides: tuple[str, ...]
    composed: DictConfig

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
        if self.config.train.name != "lmam":
            plain["train"].pop("lam")
        if not reads_calibration(self.config):
            plain.pop("calibration")
        name_languages(plain)
        if not reads_lam(self.config):
            plain.pop("lam")
        return plain

    def varied(self, plan: Sequence[Job]) -> dict[str, str]:
        """The words of this job that not all jobs of ``plan`` share, as key -> value."""
        shared = set.intersection(*(set(job.overrides) for job in plan))
        told = [word for word in self.overrides if word not in shared and not word.startswith("evaluate.dev=")]
        words = dict(word.split("=", 1) for word in told)
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
    baseline again and left out. A sweep over λ has λ=0 in it, and the rate on dev beside that on test.

    Raises:
        ConfigError: lists every word that is wrong and every check that fails.
    """
    with composing() as loader:
        right, found = parsed(words, loader, multirun)
        expanded = [list(_expand(word, override)) for word, override in right]
        given = {word.split("=")[0] for word in words}
        if multirun and "control" not in given:
            expanded.append([f"control={name}" for name in BESIDE])
        if multirun and not any(word.startswith("train=") and "lmam" in word for word in words):
            expanded = [_with_zero(values) for values in expanded]
        are_beside = any(len(values) > 1 and values[0].startswith("control=") for values in expanded)
        made: list[Job] = []
        for combination in itertools.product(*expanded):
            try:
                said = without_unread(combination) if multirun else combination
                job = job_of(unaligned(said) if are_beside else said)
                if job.config.tune.name != "none" and "lam" in given:
                    raise ConfigError(f"lam: tune={job.config.tune.name} chooses it. Leave lam out")
                is_beside = multirun and "evaluate.dev" not in given and _may_choose(job.config)
                made.append(_beside_dev(job) if is_beside else job)
            except ConfigError as error:
                found += [problem for problem in error.problems if problem not in found]
        if found:
            raise ConfigError(found)
        return distinct([job for job in made if not (multirun and is_empty(job))])


def _with_zero(values: list[str]) -> list[str]:
    """The values of a sweep over λ with λ=0 among them."""
    lams = [float(word.partition("=")[2]) for word in values if re.fullmatch(r"lam=[\d.eE+-]+", word)]
    return ["lam=0", *values] if len(lams) == len(values) and len(set(lams)) > 1 and 0 not in lams else values


def _may_choose(config: Config) -> bool:
    """Whether the rate on dev may choose this run among others."""
    is_plain = config.train.name == config.tune.name == "none" == config.control
    return is_plain and config.data.split in ("test", "not_dev")


def _beside_dev(job: Job) -> Job:
    composed = copy.deepcopy(job.composed)
    OmegaConf.update(composed, "evaluate.dev", True)
    config = replace(job.config, evaluate=replace(job.config.evaluate, dev=True))
    return Job(config, (*job.overrides, "evaluate.dev=true"), composed)


def is_empty(job: Job) -> bool:
    """Whether it is a control that nothing is merged from."""
    return job.config.lam == 0 and job.config.control != "none"


def distinct(made: Sequence[Job]) -> list[Job]:
    """Without repetitions of the same run.

    Raises:
        ConfigError: nothing is to be run, or the runs differ in a ``lam`` that they do not read.
    """
    if not made:
        raise ConfigError("no run is left: a list of values is empty, or only controls at λ=0 were asked for")
    found = idle_lam([(job.config, job.composed.lam) for job in made])
    if found:
        raise ConfigError(found)
    return list({(job.signature, job.config.outputs): job for job in made}.values())


@contextmanager
def composing() -> Iterator[ConfigLoader]:
    """Hydra, ready to compose from mam.conf."""
    GlobalHydra.instance().clear()
    with initialize_config_module("mam.conf", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def job_of(words: Sequence[str]) -> Job:
    """Compose one configuration and check it across fields."""
    config, composed = configured(words)
    found = problems(config)
    if found:
        raise ConfigError(found)
    return Job(with_plain_lam(config), tuple(words), composed)


def configured(words: Sequence[str]) -> tuple[Config, DictConfig]:
    """The configuration that words make, unchecked across fields, and what Hydra composed for it."""
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
    return config, composed


def without_hydra(composed: DictConfig) -> DictConfig:
    """The run's own keys of a composed configuration."""
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


def parsed(words: Sequence[str], loader: ConfigLoader, multirun: bool) -> tuple[list[tuple[str, Override]], list[str]]:
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
        return (
            f"{line}: mam lays out folders and logs itself; set outputs=FOLDER instead. Of Hydra's own keys it knows"
            " hydra/launcher=joblib|slurm, hydra.launcher.* and hydra/sweeper=optuna, with --multirun or a study"
        )
    if override.is_sweep_override() and not multirun:
        return f"{line}: several values need --multirun"
    if override.is_delete() or (override.is_add() and not key.startswith(("study.axes.", "study.arms."))):
        return f"{line}: mam has no keys to add or delete; set one that exists (mam run --cfg job shows them)"
    try:
        values = _values(override)
    except (HydraException, ValueError, ZeroDivisionError, TypeError) as error:
        return f"{line}: no list of values ({first_line(error)}). Write them with commas"
    if key in groups:
        unknown = [value for value in values if value not in groups[key]]
        return f"{key}={unknown[0]}: not known. Choose one of:{_listed(key, groups[key])}" if unknown else None
    if key == "study.axes":
        return f"{line}: set one axis at a time, study.axes.KEY=[...]"
    if key.startswith("study.axes."):
        if not isinstance(values[0], list) or not values[0]:
            return f"{line}: an axis is a list of values, study.axes.KEY=[...]"
        return _unknown_key(key.removeprefix("study.axes."), groups, base)
    if key.startswith("study.arms."):
        words = isinstance(values[0], list) and all(isinstance(word, str) and "=" in word for word in values[0])
        return None if words else f"{line}: an arm is a list of words, 'study.arms.NAME=[\"KEY=VALUE\"]'"
    unknown_key = _unknown_key(key, groups, base)
    if unknown_key:
        return unknown_key
    for value in values:
        try:
            OmegaConf.update(copy.deepcopy(base), key, value)
        except OmegaConfBaseException as error:
            return f"{key}={value}: {first_line(error)}"
    return None


def _listed(group: str, names: Sequence[str]) -> str:
    """The files of a group, one line each: the comment that a file opens with."""
    width, lines = max(map(len, names)), []
    for name in names:
        path = files("mam.conf").joinpath(*group.split("/"), f"{name}.yaml")
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        comments = re.findall(r"(?:^|  )# (?!@)(.+)$", text, re.MULTILINE)
        lines.append(f"\n      {name:<{width}}  {comments[0] if comments else ''}".rstrip())
    return "".join(lines)


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
