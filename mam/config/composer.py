"""The composition of words into one configuration, a job. Each word is checked on its own before Hydra composes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar

from hydra import compose, initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mam.config.checks import problems
from mam.config.merging import merges_nothing
from mam.config.override_checks import OF_THE_USER, override_problem
from mam.config.schema import Config, resolved, signature_of
from mam.config.words import verbatim
from mam.errors import ConfigError, first_line
from mam.merging.selection import is_selection


@dataclass(frozen=True)
class Job:
    """A checked configuration and the words that produce it from the defaults.

    ``files`` is Hydra's own node, with the selected file of each group.
    """

    config: Config
    words: tuple[str, ...]
    files: DictConfig = field(repr=False)

    @property
    def resolved(self) -> dict[str, Any]:
        """The configuration as plain values, without keys that do not change results."""
        return resolved(self.config)

    @property
    def signature(self) -> str:
        """The first 8 hex digits of the resolved configuration's hash; used only in the name of the folder."""
        return signature_of(self.config)

    @property
    def is_empty_control(self) -> bool:
        """True for a control at λ=0, which repeats the baseline."""
        return self.config.control != "none" and merges_nothing(self.config)

    def varied(self, plan: Sequence[Job]) -> dict[str, str]:
        """Return the words of this job that not all jobs of ``plan`` share, as key -> value."""
        shared = set.intersection(*(set(job.words) for job in plan))
        own_words = [word for word in self.words if word not in shared and not word.startswith("evaluate.dev=")]
        words = dict(word.split("=", 1) for word in own_words)
        arm = words.pop("study.arm", None)
        if arm is None:
            return words
        study = self.config.study
        in_arms = {word.partition("=")[0] for arm_words in study.arms.values() for word in arm_words}
        axes = {*study.axes, *({"control"} - in_arms)}  # controls that no arm sets are added to every arm
        return {"arm": arm} | {key: value for key, value in words.items() if key in axes}


def hydra_files(job: Job) -> dict[str, str]:
    """Return the content of ``.hydra/`` in a run folder, in Hydra's own format: file name -> YAML."""
    files = copy.deepcopy(job.files)
    with open_dict(files):
        files.overrides.task = list(job.words)
    return {
        "config.yaml": OmegaConf.to_yaml(OmegaConf.structured(job.config)),
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": files})),
        "overrides.yaml": OmegaConf.to_yaml(OmegaConf.create(list(job.words))),
    }


@dataclass(frozen=True)
class _Base:
    """The composition by Hydra for a selection of files: the run's own keys, and Hydra's node."""

    config: DictConfig
    files: DictConfig


@contextmanager
def _set_keys(config: DictConfig, overrides: Sequence[Override]) -> Iterator[None]:
    """Set keys as Hydra would, and restore them afterwards, because copying the whole configuration is slow."""
    before: list[tuple[str, Any]] = []
    try:
        for override in overrides:
            parent, name = _place_of(config, override.key_or_group)
            if not isinstance(parent, DictConfig) or name not in parent:
                raise ConfigError(f"{override.input_line}: there is no such key")
            before.append((override.key_or_group, copy.deepcopy(parent._get_node(name))))
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        yield
    finally:
        for key, node in reversed(before):
            parent, name = _place_of(config, key)  # anew: a later word may have replaced the node above
            node._set_parent(parent)
            parent.__dict__["_content"][name] = node


def _place_of(config: DictConfig, key: str) -> tuple[Any, str]:
    """Return the node that holds a key, and the key's last name."""
    above, _, name = key.rpartition(".")
    return (OmegaConf.select(config, above) if above else config), name


class Composer:
    """A context that composes configurations from words; Hydra runs once for each selection of files.

    Words that set a key are applied to Hydra's composition for the words that select files, with the same result as in
    Hydra. The members of a study differ mostly in keys, so they cost very little.
    """

    _bases: ClassVar[dict[tuple[str, ...], _Base]] = {}  # files do not change while a process runs

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
        """Restore Hydra's state."""
        self._hydra.__exit__(kind, error, traceback)

    def _options(self, group: str) -> list[str]:
        return self.loader.get_group_options(group, ObjectType.CONFIG)

    def job(self, words: Sequence[str]) -> Job:
        """Compose one configuration and check its fields together; raises ConfigError."""
        config, files = self.configured(words)
        messages = problems(config)
        if messages:
            raise ConfigError(messages)
        return Job(config, tuple(map(self.spelled, words)), files)

    def spelled(self, word: str) -> str:
        """Rewrite a selection of layers that is not a file's name, such as ``layers=top4``, as ``layers.spec=top4``.

        Other words are returned unchanged. If one of several comma-separated values is a selection, all are treated as
        selections, because files are named after the selection in them.
        """
        key, _, value = word.partition("=")
        names = [name.strip("'\"") for name in value.split(",")]
        is_file = all(name in self.groups["layers"] for name in names)
        if key != "layers" or is_file or not any(map(is_selection, names)):
            return word
        return f"layers.spec={value}"

    def _read(self, word: str, multirun: bool = False) -> Override:
        return self._parser.parse_override(verbatim(self.spelled(word), multirun))

    def configured(self, words: Sequence[str]) -> tuple[Config, DictConfig]:
        """Compose words without checking fields together, and return the configuration and Hydra's node.

        Raises:
            ConfigError: A word cannot be composed, or a key has no value.
        """
        try:
            overrides = [self._read(word) for word in words]
            choosing = [override for override in overrides if self._needs_hydra(override)]
            base = self._base(choosing)
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
        return self._base([]).config

    def _base(self, choosing: Sequence[Override]) -> _Base:
        """Return Hydra's composition for words that select files or name keys of the user's own."""
        lines = tuple(str(override.input_line) for override in choosing)
        if lines not in self._bases:
            dotted = [override for override in choosing if override.key_or_group.startswith(OF_THE_USER)]
            words = [str(override.input_line) for override in choosing if override not in dotted]
            composed = compose("config", overrides=words, return_hydra_config=True)
            own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            config: Any = OmegaConf.merge(OmegaConf.structured(Config), own)
            for override in dotted:
                _set_own_key(config.study, override)
            self._bases[lines] = _Base(config, composed.hydra)
        return self._bases[lines]

    def _needs_hydra(self, override: Override) -> bool:
        """Return whether a word does more than set an existing key."""
        key = override.key_or_group
        return key in self.groups or override.is_add() or override.is_delete() or key.startswith(OF_THE_USER)

    def parsed(self, words: Sequence[str], multirun: bool) -> tuple[list[tuple[str, Override]], list[str]]:
        """Return the valid words, each as Hydra parses it, and the problems of the others."""
        valid: list[tuple[str, Override]] = []
        messages: list[str] = []
        for word in words:
            try:
                word.encode()
                override = self._read(word, multirun)
            except UnicodeEncodeError:
                messages.append(f"{word!r}: is not UTF-8. Rename the file or folder, or link to it.")
                continue
            except HydraException as error:
                messages.append(f"{word}: {first_line(error)}")
                continue
            problem = override_problem(override, self.groups, self.base(), multirun)
            if problem:
                messages.append(problem)
            else:
                valid.append((self.spelled(word), override))
        return valid, messages


def _set_own_key(study: DictConfig, override: Override) -> None:
    """Set a key of the user's own, such as an axis; its name may have dots, which Hydra would take for a path.

    Raises:
        ConfigError: The key does not exist, and the word does not add it.
    """
    _, kind, name = override.key_or_group.split(".", 2)
    keys = study[kind]
    if not override.is_add() and name not in keys:
        line = override.input_line
        raise ConfigError(f"{line}: study.{kind} has no {name}. To add it, write +{line}")
    keys[name] = override.value()
