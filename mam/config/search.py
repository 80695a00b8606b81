"""The places of configuration files: folders and packages of the user's own, then mam's."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

# Hydra's own compose() works on a global instance, which a notebook may use for another program.
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement
from hydra.core.config_store import ConfigStore

from mam.config.hydra_sources import loader_of
from mam.config.words import listed, quoted
from mam.errors import ConfigError, MamError, choices, first_line
from mam.files import expanded
from mam.registry import foreign
from mam.small_files import read_yaml_text

MAMS = "pkg://mam.conf"
DEFAULT_FOLDER, VARIABLE = "mam_conf", "MAM_CONFIG_DIR"
FLAGS, KEY = ("--config-dir", "-cd"), "hydra.searchpath"
FILE, PACKAGE = "file://", "pkg://"
PRIMARY = "config.yaml"


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file of the user's own that a job was composed from.

    Attributes:
        name: Group and name, such as ``model/mine``.
        place: The path of the file.
        text: Its content.
        hides: Whether mam has a file of the same name.
    """

    name: str
    place: str
    text: str
    hides: bool

    @property
    def sha256(self) -> str:
        """The hash of the content."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class SearchPath:
    """The places of the user's own configuration files, in Hydra's notation; earlier places hide later ones, and mam's.

    ``own`` has entries such as ``file://conf`` (relative to the working directory) and ``pkg://package.conf``.
    """

    own: tuple[str, ...] = ()

    def loader(self) -> ConfigLoader:
        """Return Hydra's loader for these places."""
        return loader_of(self.in_hydra())

    def in_hydra(self) -> ConfigSearchPath:
        """Return the search path as Hydra's object."""
        path = create_config_search_path(MAMS)
        self.add_to(path)
        return path

    def add_to(self, path: ConfigSearchPath) -> None:
        """Put the user's own places before mam's in a search path of Hydra's."""
        for place in reversed(self.own):
            path.get_path().insert(1, SearchPathElement("own", place))  # after Hydra's own, before mam's

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a command line that give this search path; none if it is mam's alone."""
        if all(map(_is_file, self.own)):
            return tuple(f"{FLAGS[0]}={place.removeprefix(FILE)}" for place in self.own)
        return (f"{KEY}=[{','.join(map(_quoted, self.own))}]",)

    def find(self, name: str) -> ConfigFile | None:
        """Return the user's own file ``name``, such as ``model/mine``; None if it is mam's or does not exist."""
        for place in self.own:
            entry = _below(_folder(place), name)
            if entry is not None:
                return ConfigFile(name, str(entry), _text(entry), _below(files("mam.conf"), name) is not None)
        return None

    def names(self, group: str) -> list[str]:
        """Return the names of a group's files, the user's own and mam's, and of choices that plug-ins registered."""
        folders = [*map(_folder, self.own), files("mam.conf")]
        paths = [path for folder in folders for path in _names(folder.joinpath(*group.split("/")))]
        registered = {entry.name for entry in foreign() if entry.kind == group and group in _KEYS}
        return sorted({path.removesuffix(".yaml") for path in paths if path.endswith(".yaml")} | registered)

    def text(self, name: str) -> str:
        """Return the content of a file, the user's own or mam's; "" if it does not exist."""
        own = self.find(name)
        if own is not None:
            return own.text
        mams = _below(files("mam.conf"), name)
        return "" if mams is None else _text(mams)


ONLY_MAMS = SearchPath()


def _quoted(place: str) -> str:
    """Return a place as Hydra's grammar reads it in a list; most need no quotes."""
    return place if re.fullmatch(r"(file|pkg)://[A-Za-z0-9_./-]+", place) else quoted(place)


# The groups of which a run has a file each, in the order of the defaults in conf/config.yaml.
SELECTED = ("model", "data", "schedule", "layers", "method", "train", "tune")
FILE_GROUPS = (*SELECTED, "experiment", "hydra/launcher")

# Kinds of choices that are a group of files each: what a plug-in registers is chosen like a file with these keys.
_KEYS = {"method": ("name",), "schedule": ("name",), "tune": ("name",), "data": ("name", "format")}
_published: set[tuple[str, str]] = set()


def publish_choices() -> None:
    """Make what plug-ins have registered known to Hydra, so that ``method=mine`` needs no file."""
    store = ConfigStore.instance()
    wanted = {(entry.kind, entry.name) for entry in foreign() if entry.kind in _KEYS}
    for kind, name in _published - wanted:
        store.repo[kind].pop(f"{name}.yaml", None)
    for kind, name in wanted - _published:
        store.store(group=kind, name=name, node=dict.fromkeys(_KEYS[kind], name))
    _published.clear()
    _published.update(wanted)


@cache
def groups() -> tuple[str, ...]:
    """Return mam's configuration groups; a configuration of the user's own belongs to one of them."""
    return tuple(sorted(entry.name for entry in files("mam.conf").iterdir() if entry.is_dir() and entry.name[0] != "_"))


def split_search(words: Sequence[str]) -> tuple[SearchPath, list[str]]:
    """Take ``--config-dir DIR`` and ``hydra.searchpath=[...]`` out of the words of a command line.

    Without any, the folder in ``$MAM_CONFIG_DIR`` or, if it exists, ``./mam_conf`` is searched.

    Returns:
        The search path, checked, and the remaining words.

    Raises:
        ConfigError: A place does not exist or cannot hold configurations.
    """
    places: list[str] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        if flag in FLAGS:
            folder = value if equals else next(remaining, "")
            if not folder:
                raise ConfigError(f"{flag}: needs a folder. Write {flag} FOLDER")
            places.append(f"{FILE}{folder}")
        elif flag == KEY:
            places += listed(word)
        else:
            rest.append(word)
    if not places:
        places = [f"{FILE}{folder}" for folder in _default_folders()]
    return checked(SearchPath(tuple(dict.fromkeys(places)))), rest


def _default_folders() -> list[str]:
    named = [folder for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    return named or ([DEFAULT_FOLDER] if Path(DEFAULT_FOLDER).is_dir() else [])


def checked(search: SearchPath) -> SearchPath:
    """Return a search path whose folders are absolute where they begin with ``~``.

    Raises:
        ConfigError: A place does not exist, holds no configuration, or would hide the defaults of all keys.
    """
    own = tuple(map(_expanded, search.own))
    problems = [problem for place in own for problem in _problems(place)]
    if problems:
        raise ConfigError(problems)
    return replace(search, own=own)


def _expanded(place: str) -> str:
    return f"{FILE}{expanded(place.removeprefix(FILE))}" if _is_file(place) else place


def _is_file(place: str) -> bool:
    return place.startswith(FILE)


def _problems(written: str) -> Iterator[str]:
    if not written.startswith((FILE, PACKAGE)):
        yield f"{written}: must be file://FOLDER or pkg://PACKAGE"
        return
    place = written.removeprefix(FILE)
    try:
        folder = _folder(written)
        names = {entry.name for entry in folder.iterdir()}
        present = {group: list(_names(folder.joinpath(group))) for group in (*groups(), "hydra") if group in names}
    except ConfigError as error:
        yield str(error)
        return
    except OSError as error:
        yield f"{place}: {error.strerror or error}. Name a readable folder of configurations"
        return
    if PRIMARY in names:
        yield (
            f"{place}: its {PRIMARY} would replace mam's, which has the defaults of all keys. Move it into a group,"
            " such as experiment/mine.yaml, and set experiment=mine"
        )
    wrong = [f"{group}/{name}" for group, listed in present.items() for name in listed if name.endswith(".yml")]
    if wrong:
        yield f"{place}: {choices(wrong)} would be ignored. Configuration files must end in .yaml"
    if not any(name.endswith(".yaml") for listed in present.values() for name in listed):
        yield (
            f"{place}: has no configuration files. Add a file such as model/mine.yaml; the groups are"
            f" {choices(groups())}"
        )


def _names(folder: Traversable, depth: int = 4) -> Iterator[str]:
    """Yield the paths of all files below a folder."""
    if not folder.is_dir() or depth == 0:
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from (f"{entry.name}/{name}" for name in _names(entry, depth - 1))
        else:
            yield entry.name


def _folder(place: str) -> Traversable:
    """Return the folder of a place; raises ConfigError if it does not exist."""
    if _is_file(place):
        path = Path(place.removeprefix(FILE))
        if "\0" in str(path) or not path.is_dir():
            raise ConfigError(f"{path}: there is no such folder. Name a folder of configurations")
        return path
    name = place.removeprefix(PACKAGE).replace("/", ".")
    try:
        return files(import_module(name))
    except Exception as error:  # a package may run anything when it is imported
        raise ConfigError(f"{place}: cannot be imported ({type(error).__name__}: {first_line(error)})") from error


def _below(folder: Traversable, name: str) -> Traversable | None:
    entry = folder.joinpath(*f"{name}.yaml".split("/"))
    return entry if entry.is_file() else None


def _text(entry: Traversable) -> str:
    try:
        return read_yaml_text(Path(str(entry))) if isinstance(entry, Path) else entry.read_text(encoding="utf-8")
    except MamError as error:
        raise ConfigError(str(error).removesuffix(".")) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{entry}: cannot be read ({first_line(error)})") from error
