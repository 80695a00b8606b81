"""From the words of a command line to checked configurations. Hydra composes; every problem is reported together."""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from types import TracebackType
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mam.config.checks import problems
from mam.config.merging import idle_lam_problems, merges_nothing, without_idle_alignment, without_idle_words
from mam.config.schema import Config, resolved, signature_of
from mam.config.words import verbatim
from mam.errors import ConfigError, choices, first_line
from mam.merge.selection import is_selection

CONTROLS_OF_SWEEPS = ("none", "shrink")  # the controls of a sweep that names none
LISTS = ("study.axes", "study.arms", "study.labels", "study.against")  # keys of the user's own are below these


@dataclass(frozen=True)
class Job:
    """A checked configuration and the words that make it from the defaults.

    ``files`` is Hydra's own node: which file was chosen of each group.
    """

    config: Config
    words: tuple[str, ...]
    files: DictConfig = field(repr=False)

    @property
    def resolved(self) -> dict[str, Any]:
        """The configuration as plain values, without what does not change results."""
        return resolved(self.config)

    @property
    def signature(self) -> str:
        """8 hex digits of the resolved configuration; names the folder and nothing else."""
        return signature_of(self.config)

    @property
    def is_empty_control(self) -> bool:
        """Whether it is a control that nothing is merged from, and so the baseline again."""
        return self.config.control != "none" and merges_nothing(self.config)

    def varied(self, plan: Sequence[Job]) -> dict[str, str]:
        """Return the words of this job that not all jobs of ``plan`` share, as key -> value."""
        shared = set.intersection(*(set(job.words) for job in plan))
        told = [word for word in self.words if word not in shared and not word.startswith("evaluate.dev=")]
        words = dict(word.split("=", 1) for word in told)
        arm = words.pop("study.arm", None)
        if arm is None:
            return words
        return {"arm": arm} | {key: value for key, value in words.items() if key in self.config.study.axes}


@dataclass(frozen=True)
class Plan:
    """The jobs of a command line; ``adds_baseline`` says that λ=0 was added to a sweep over λ."""

    jobs: list[Job]
    adds_baseline: bool = False


@dataclass(frozen=True)
class _Base:
    """What Hydra composes for a choice of files: the run's own keys, and its own node."""

    config: DictConfig
    files: DictConfig


@contextmanager
def _set_keys(config: DictConfig, overrides: Sequence[Override]) -> Iterator[None]:
    """Set keys as Hydra would, and set them back: a copy of the whole configuration is slow."""
    before: list[tuple[str, Any]] = []
    try:
        for override in overrides:
            key = override.key_or_group
            above, _, name = key.rpartition(".")
            node: Any = (OmegaConf.select(config, above) if above else config)._get_node(name)
            before.append((key, OmegaConf.to_container(node) if OmegaConf.is_config(node) else node._value()))
            OmegaConf.update(config, key, override.value(), merge=True)
        yield
    finally:
        for key, value in reversed(before):
            OmegaConf.update(config, key, value, merge=False)


class Composer:
    """Composes configurations from words, as a context; Hydra is asked once for each choice of files.

    Words that set a key are applied to what Hydra composed for the words that choose files, as Hydra itself would: the
    members of a study differ in keys, mostly, and cost next to nothing.
    """

    def __init__(self) -> None:
        self._bases: dict[tuple[str, ...], _Base] = {}

    def __enter__(self) -> Composer:
        """Prepare Hydra to compose from mam.conf."""
        GlobalHydra.instance().clear()
        self._hydra = initialize_config_module("mam.conf", version_base="1.3")
        self._hydra.__enter__()
        self.loader: ConfigLoader = GlobalHydra.instance().config_loader()
        self._parser = OverridesParser.create(self.loader)
        self.groups = {group: self._options(group) for group in self.loader.list_groups("") if group != "hydra"}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave Hydra as it was found."""
        self._hydra.__exit__(kind, error, traceback)

    def _options(self, group: str) -> list[str]:
        return self.loader.get_group_options(group, ObjectType.CONFIG)

    def job(self, words: Sequence[str]) -> Job:
        """Compose one configuration and check it across fields. Raises ConfigError."""
        config, files = self.configured(words)
        found = problems(config)
        if found:
            raise ConfigError(found)
        return Job(config, tuple(words), files)

    def configured(self, words: Sequence[str]) -> tuple[Config, DictConfig]:
        """Return the configuration that words make, unchecked across fields, and Hydra's node. Raises ConfigError."""
        try:
            overrides = [self._parser.parse_override(verbatim(word)) for word in words]
            choosing = [override for override in overrides if self._needs_hydra(override)]
            base = self._base(tuple(str(override.input_line) for override in choosing))
            with _set_keys(base.config, [override for override in overrides if override not in choosing]):
                missing = sorted(OmegaConf.missing_keys(base.config))
                if missing:
                    raise ConfigError([f"{key}: has no value. Say {key}=..." for key in missing])
                config = OmegaConf.to_object(base.config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(first_line(error)) from error
        assert isinstance(config, Config)
        return config, base.files

    def base(self) -> DictConfig:
        """Return the defaults."""
        return self._base(()).config

    def _base(self, choosing: tuple[str, ...]) -> _Base:
        if choosing not in self._bases:
            composed = compose("config", overrides=list(choosing), return_hydra_config=True)
            own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            config: Any = OmegaConf.merge(OmegaConf.structured(Config), own)
            self._bases[choosing] = _Base(config, composed.hydra)
        return self._bases[choosing]

    def _needs_hydra(self, override: Override) -> bool:
        """Whether a word does more than set a key that is there."""
        key = override.key_or_group
        return key in self.groups or override.is_add() or override.is_delete() or key.startswith(LISTS)

    def parsed(self, words: Sequence[str], multirun: bool) -> tuple[list[tuple[str, Override]], list[str]]:
        """Return the words that are right, each with what Hydra reads in it, and what is wrong with the others."""
        right: list[tuple[str, Override]] = []
        found: list[str] = []
        for word in words:
            try:
                word.encode()
                override = self._parser.parse_override(verbatim(word, multirun))
            except UnicodeEncodeError:
                found.append(f"{word!r}: is not UTF-8. Rename the file or folder, or link to it.")
                continue
            except HydraException as error:
                found.append(f"{word}: {first_line(error)}")
                continue
            problem = _problem(override, self.groups, self.base(), multirun)
            if problem:
                found.append(problem)
            else:
                right.append((word, override))
        return right, found


def jobs(words: Sequence[str], multirun: bool = False) -> Plan:
    """Compose and check. One job, or with ``multirun`` one for each combination of the values given with commas.

    A sweep has `shrink` beside every merge, unless its words say which controls it wants; a control at λ=0 is the
    baseline again and left out. A sweep over λ has λ=0 in it, and the rate on dev beside that on test.

    Raises:
        ConfigError: lists every word that is wrong and every check that fails.
    """
    with Composer() as composer:
        words = [with_layer_spec(word, composer.groups["layers"]) for word in words]
        right, found = composer.parsed(words, multirun)
        values = {override.key_or_group: list(_expand(word, override)) for word, override in right}
        adds_baseline = False
        if multirun:
            values.setdefault("control", [f"control={name}" for name in CONTROLS_OF_SWEEPS])
            adds_baseline = _lacks_baseline(right)
            if adds_baseline:
                values["lam"].insert(0, "lam=0")
        has_controls = len(values.get("control", ())) > 1
        made: list[Job] = []
        for combination in itertools.product(*values.values()):
            said = without_idle_words(combination) if multirun else combination
            said = without_idle_alignment(said) if has_controls else said
            try:
                job = composer.job(said)
                if job.config.tune.name != "none" and "lam" in values:
                    raise ConfigError(f"lam: tune={job.config.tune.name} chooses it. Leave lam out")
                if multirun and "evaluate.dev" not in values and _may_choose(job.config):
                    job = composer.job((*said, "evaluate.dev=true"))
            except ConfigError as error:
                found += [problem for problem in error.problems if problem not in found]
                continue
            if not (multirun and job.is_empty_control):
                made.append(job)
        if found:
            raise ConfigError(found)
        return Plan(distinct(made), adds_baseline)


def with_layer_spec(word: str, files: Sequence[str]) -> str:
    """Return ``layers.spec=top4`` for ``layers=top4``, a selection that no file is named after; other words unchanged.

    Of several values with commas all are selections where one is: a file is named after the selection in it.
    """
    key, _, value = word.partition("=")
    names = value.split(",")
    if key != "layers" or all(name in files for name in names) or not all(map(is_selection, names)):
        return word
    return f"layers.spec={value}"


def _lacks_baseline(overrides: Sequence[tuple[str, Override]]) -> bool:
    """Whether a sweep varies λ without 0 among its values; where λ is learnt, 0 is where it starts."""
    by_key = {override.key_or_group: override for _, override in overrides}
    if "lmam" in _texts(by_key.get("train")):
        return False
    lams = {float(value) for value in _texts(by_key.get("lam"))}
    return len(lams) > 1 and 0 not in lams


def _texts(override: Override | None) -> list[str]:
    return [] if override is None else [str(value) for value in _values(override)]


def _may_choose(config: Config) -> bool:
    """Whether the rate on dev may choose this run among others."""
    is_plain = config.train.name == config.tune.name == "none" == config.control
    return is_plain and config.data.split in ("test", "not_dev")


def distinct(made: Sequence[Job]) -> list[Job]:
    """Return the jobs without repetitions of the same run.

    Raises:
        ConfigError: nothing is to be run, or the runs differ in a ``lam`` that they do not read.
    """
    if not made:
        raise ConfigError("no run is left: a list of values is empty, or only controls at λ=0 were asked for")
    found = idle_lam_problems([job.config for job in made])
    if found:
        raise ConfigError(found)
    return list({(job.signature, job.config.outputs): job for job in made}.values())


def hydra_files(job: Job) -> dict[str, str]:
    """Return what ``.hydra/`` of a run folder holds, as Hydra itself writes it: file name -> YAML."""
    files = copy.deepcopy(job.files)
    with open_dict(files):
        files.overrides.task = list(job.words)
    return {
        "config.yaml": OmegaConf.to_yaml(OmegaConf.structured(job.config)),
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": files})),
        "overrides.yaml": OmegaConf.to_yaml(OmegaConf.create(list(job.words))),
    }


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
