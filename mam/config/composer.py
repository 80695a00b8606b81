"""The composition of words into one configuration, a job. Each word is checked on its own before Hydra composes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.version import VersionBase, setbase
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mam.config.checks import problems
from mam.config.job import Job
from mam.config.nodes import keys_set, schema
from mam.config.override_checks import OF_THE_USER, override_problem
from mam.config.schema import Config
from mam.config.search import ONLY_MAMS, ConfigFile, SearchPath, groups, publish_choices
from mam.config.several import keys_of_words
from mam.config.words import listed, verbatim
from mam.errors import ConfigError, MamError, first_line
from mam.extensions import use
from mam.merging.selection import is_selection
from mam.small_files import parse_yaml

LONGEST = 20_000  # characters of a word


@dataclass(frozen=True)
class _Base:
    """The composition by Hydra for a selection of files.

    Attributes:
        config: The run's own keys.
        has_missing: Whether one of them has no value.
        files: Hydra's node.
        own_files: The user's own files among those selected.
    """

    config: DictConfig
    has_missing: bool
    files: DictConfig
    own_files: tuple[ConfigFile, ...]


class Composer:
    """A context that composes configurations from words; Hydra runs once for each selection of files.

    Words that set a key are applied to Hydra's composition for the words that select files, with the same result as in
    Hydra. The members of a study differ mostly in keys, so they cost very little.
    """

    _bases_of_mam: ClassVar[dict[tuple[str, ...], _Base]] = {}  # mam's files do not change while a process runs

    def __init__(self, search: SearchPath = ONLY_MAMS) -> None:
        """Create the context; ``search`` gives the places of the user's own configuration files."""
        self.search = search
        self._bases = {} if search.own else self._bases_of_mam
        # The plug-ins in use; to look for them again for each member of a study is slow.
        self._plugins: list[str] | None = None
        self._read_before: dict[tuple[str, bool], Override] = {}

    def __enter__(self) -> Composer:
        """Prepare Hydra to compose; its global instance is neither used nor changed."""
        self._version_before = VersionBase.instance().getbase()
        setbase("1.3")
        self.loader = self.search.loader()
        self._parser = OverridesParser.create(self.loader)
        self._list_groups()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore Hydra's state."""
        VersionBase.instance().version_base = self._version_before

    def _list_groups(self) -> None:
        publish_choices()
        self.groups = {group: self.search.names(group) for group in groups() if group != "hydra"}

    def job(self, words: Sequence[str]) -> Job:
        """Compose one configuration, load its plug-ins and check its fields together; raises ConfigError."""
        self.load_plugins(words)
        job = self.unchecked(words)
        self._use(job.config.plugins)
        messages = problems(job.config)
        if messages:
            raise ConfigError(messages)
        return job

    def load_plugins(self, words: Sequence[str]) -> None:
        """Load the plug-ins that words name, directly or by a file of the user's own.

        What plug-ins register is then known when the other words are checked and composed. Wrong words are left to the
        checks.

        Raises:
            ConfigError: A plug-in cannot be loaded.
        """
        named = [word for word in words if word.startswith("plugins=")]
        in_files = [name for word in words for name in self._plugins_in_files(word)]
        try:
            names = listed(named[-1]) if named else in_files
        except ConfigError:
            return
        self._use(names)

    def _use(self, names: list[str]) -> None:
        if names != self._plugins:
            use(names)
            self._plugins = list(names)
            self._list_groups()

    def _plugins_in_files(self, word: str) -> list[str]:
        """Return the plug-ins named at the top of the user's own files that a word selects, several with commas."""
        group, _, value = word.partition("=")
        files = [self.search.find(f"{group}/{name}") for name in value.split(",")] if group in self.groups else []
        names: list[str] = []
        for file in files:
            try:
                content = None if file is None else parse_yaml(file.text, file.place)
            except MamError:  # reported when the file is composed
                continue
            plugins = content.get("plugins") if isinstance(content, dict) else None
            names += [name for name in plugins if isinstance(name, str)] if isinstance(plugins, list) else []
        return list(dict.fromkeys(names))

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
        """Return a word as Hydra parses it, which takes long for a long list and is asked for by every member."""
        if (word, multirun) not in self._read_before:
            if len(word) > LONGEST:
                raise HydraException(
                    f"{len(word):,} characters are too many (at most {LONGEST:,}). Put the value into a file"
                )
            self._read_before[word, multirun] = self._parser.parse_override(verbatim(self.spelled(word), multirun))
        return self._read_before[word, multirun]

    def unchecked(self, words: Sequence[str]) -> Job:
        """Compose words without checking fields together.

        Raises:
            ConfigError: A word cannot be composed, or a key has no value.
        """
        try:
            overrides = [self._read(word) for word in words]
            choosing = [override for override in overrides if self._needs_hydra(override)]
            base = self._base(choosing)
            setting = [override for override in overrides if override not in choosing]
            with keys_set(base.config, keys_of_words((word.key_or_group, word.value()) for word in setting)):
                if base.has_missing or any(MISSING in word for word in words):
                    _refuse_missing(base.config)
                config = OmegaConf.to_object(base.config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(f"{self._places(words)}{_in_one_line(error)}") from error
        assert isinstance(config, Config)
        return Job(config, tuple(map(self.spelled, words)), base.files, self.search, base.own_files)

    def _places(self, words: Sequence[str]) -> str:
        """Return the user's own files that words select, for the beginning of a message."""
        files = [self.search.find(word.replace("=", "/", 1)) for word in words if re.fullmatch(r"[\w/]+=[\w-]+", word)]
        return "".join(f"{file.place}: " for file in files if file is not None)

    def base(self) -> DictConfig:
        """Return the defaults."""
        return self._base([]).config

    def _base(self, choosing: Sequence[Override]) -> _Base:
        """Return Hydra's composition for words that select files or name keys of the user's own."""
        lines = tuple(str(override.input_line) for override in choosing)
        if lines not in self._bases:
            dotted = [override for override in choosing if override.key_or_group.startswith(OF_THE_USER)]
            words = [str(override.input_line) for override in choosing if override not in dotted]
            composed = self.composed(words)
            own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            config = OmegaConf.merge(schema(), own)
            assert isinstance(config, DictConfig)
            for override in dotted:
                _set_own_key(config.study, override)
            has_missing = bool(OmegaConf.missing_keys(config))
            self._bases[lines] = _Base(config, has_missing, composed.hydra, self._own_files(words))
        return self._bases[lines]

    def composed(self, words: Sequence[str]) -> DictConfig:
        """Return Hydra's composition of words, with Hydra's own node.

        Raises:
            ConfigError: A file is not valid YAML, or files include each other.
            HydraException: The words cannot be composed.
        """
        try:
            return self.loader.load_configuration("config", list(words), RunMode.RUN, from_shell=False)
        except HydraException:  # one of its kinds is an OSError
            raise
        except yaml.YAMLError as error:
            raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}") from error
        except (UnicodeDecodeError, OSError) as error:
            raise ConfigError(
                f"{', '.join(words)}: a configuration file is not UTF-8 text ({first_line(error)})"
            ) from error
        except (AttributeError, TypeError, ValueError) as error:  # Hydra's of a list of defaults that is none
            raise ConfigError(f"{', '.join(words)}: {first_line(error)}") from error
        except RecursionError as error:
            names = ", ".join(words)
            raise ConfigError(
                f"{names}: the files include each other in their defaults. Remove the circular default"
            ) from error

    def _own_files(self, words: Sequence[str]) -> tuple[ConfigFile, ...]:
        """Return the user's own files from which words are composed, in order of name."""
        if not self.search.own:
            return ()
        defaults = self.loader.compute_defaults_list("config", list(words), RunMode.RUN).defaults
        names = sorted({default.config_path for default in defaults if default.config_path})
        return tuple(file for file in map(self.search.find, names) if file is not None)

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
                messages.append(f"{word!r}: not valid UTF-8. Rename the file or folder, or link to it.")
                continue
            except (HydraException, ValueError) as error:  # the latter for numbers of thousands of digits
                messages.append(f"{word}: {first_line(error)}")
                continue
            except RecursionError:
                messages.append(f"{word}: brackets are nested too deeply")
                continue
            problem = override_problem(override, self.groups, self.search, self.base(), multirun)
            if problem:
                messages.append(problem)
            else:
                valid.append((self.spelled(word), override))
        return valid, messages


def _in_one_line(error: Exception) -> str:
    """Return the message of Hydra or OmegaConf, without the lines that describe the key to programmers."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith((" ", "full_key", "object_type"))]
    return " ".join(lines) or f"cannot be composed ({type(error).__name__}). Check that every key is a name"


def _refuse_missing(config: DictConfig) -> None:
    """Raise ConfigError for keys without a value."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError([f"{key}: has no value. Set {key}=..." for key in missing])


def _set_own_key(study: DictConfig, override: Override) -> None:
    """Set a key of the user's own, such as an axis; its name may have dots, which Hydra would take for a path.

    Raises:
        ConfigError: The key does not exist, and the word does not add it.
    """
    prefix = next(prefix for prefix in OF_THE_USER if override.key_or_group.startswith(prefix))
    place, name = prefix.strip("."), override.key_or_group.removeprefix(prefix)
    keys = OmegaConf.select(study, place.removeprefix("study."))
    if not override.is_add() and name not in keys:
        line = override.input_line
        raise ConfigError(f"{line}: {place} has no {name}. To add it, use +{line}")
    keys[name] = override.value()
