"""Plug-ins: code of the user's own that registers methods, data formats and other choices.

A plug-in is a Python file, a folder with ``__init__.py``, a module, or an entry point of the group ``mam.plugins``. It
is run only because the user named it, on the command line, in a configuration file of their own or by installing it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from mam.errors import ConfigError, MamError, first_line
from mam.files import expanded, resolved
from mam.identity import sources_of, tree_sha256
from mam.registry import Registration, code_sha256, foreign, registering, restore, withdraw
from mam.small_files import read_bytes, read_text

GROUP = "mam.plugins"
INIT = "__init__.py"


@dataclass(frozen=True)
class Plugin:
    """A plug-in as it was loaded.

    Attributes:
        name: As the user named it, or the entry point's name.
        place: The path of its file or folder.
        sha256: The hash of its sources.
        version: The version of the installed distribution; None for a file or folder that is named by its path.
        sources: The content of each of its files, if it is named by its path: name -> text.
    """

    name: str
    place: str
    sha256: str
    version: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)


SESSION = "this session"  # the place of code that belongs to no plug-in, such as a cell of a notebook
_loaded: dict[str, Plugin] = {}  # by resolved path, or module
_resting: dict[str, list[Registration]] = {}  # registrations of loaded plug-ins that are not in use
_in_use: list[Plugin] = []


def use(names: Sequence[str]) -> tuple[Plugin, ...]:
    """Load these plug-ins and all entry points, and put the registrations of others aside.

    Args:
        names: Paths (``./mine.py``, a folder) or modules (``package.module``).

    Returns:
        The plug-ins in use: entry points by name, then ``names`` in their order.

    Raises:
        ConfigError: A plug-in does not exist, fails when it is run, or registers a name that is taken.
    """
    wanted = {f"{GROUP}:{point.name}": point for point in _entry_points()} | {_key(name): name for name in names}
    for key in [key for key in _loaded if key not in wanted and key not in _resting]:
        _resting[key] = withdraw(key)
    _in_use[:] = [_ready(key, name) for key, name in wanted.items()]
    return tuple(_in_use)


def in_use() -> tuple[Plugin, ...]:
    """Return the plug-ins that were last asked for."""
    return tuple(_in_use)


def code_in_use(words: frozenset[str]) -> list[Plugin]:
    """Return all code outside mam that a run may use.

    Args:
        words: The values in the run's configuration. Code that belongs to no plug-in counts if its name is among them,
            or if it is a family of models, which no configuration names.
    """
    cells = [entry for entry in foreign() if not entry.owner and (entry.name in words or "family" in entry.kind)]
    return _in_use + [Plugin(f"{entry.kind}={entry.name}", SESSION, code_sha256(entry.code)) for entry in cells]


@contextlib.contextmanager
def blaming() -> Iterator[None]:
    """Turn an error that arises in a plug-in into a MamError with the plug-in's line; other errors pass.

    Raises:
        MamError: The plug-in's file, line and error.
    """
    try:
        yield
    except MamError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:  # a plug-in may raise anything
        places = {plugin.place for plugin in _loaded.values()}
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = Path(frame.filename)
            if not places.isdisjoint({str(path), *map(str, path.parents)}):
                raise MamError(f"{path}, line {frame.lineno}, in {frame.name}: {_in_words(error)}") from error
        raise  # it did not pass through one


def _in_words(error: BaseException) -> str:
    name = type(error).__name__
    return first_line(error) if isinstance(error, MamError) else f"{name}: {str(error).strip()[:500] or 'no message'}"


def _entry_points() -> list[EntryPoint]:
    """Return the entry points of what is installed now, in order of name."""
    places = [(place, Path(place).stat().st_mtime_ns) for place in sys.path if Path(place).is_dir()]
    return _entry_points_in(tuple(places))


@lru_cache(maxsize=1)  # looking for them takes as long as a whole composition
def _entry_points_in(places: tuple[tuple[str, int], ...]) -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def _is_path(name: str) -> bool:
    return name.endswith(".py") or os.sep in name or name.startswith("~") or Path(name).is_dir()


def _key(name: str) -> str:
    if not isinstance(name, str) or "\0" in name:
        raise ConfigError(f"plugins={name!r}: must be the name of a file, folder or module")
    if not name.strip():
        raise ConfigError("plugins: one of the names is empty. Remove it")
    return str(resolved(expanded(name))) if _is_path(name) else name


def _ready(key: str, name: str | EntryPoint) -> Plugin:
    """Return the loaded plug-in ``key``; a file that has changed since is loaded again."""
    earlier = _loaded.get(key)
    if earlier is not None and earlier.sha256 == _sha256_now(key, earlier):
        restore(_resting.get(key, []))
        _resting.pop(key, None)
        return earlier
    _resting.pop(key, None)
    _loaded.pop(key, None)
    withdraw(key)
    label = f"plugins={name}" if isinstance(name, str) else f"plug-in {name.name} of {_distribution(name)}"
    try:
        # What a plug-in prints must not mix with output that programs read.
        with registering(key), contextlib.redirect_stdout(sys.stderr):
            plugin = _load(key, name)
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit and GeneratorExit, which a plug-in may raise
        raise ConfigError(f"{label}: cannot be loaded. {_where(error, key)}") from error
    _loaded[key] = plugin
    return plugin


def _sha256_now(key: str, plugin: Plugin) -> str:
    """Return the hash of a path's present content; an installed module stays as it was imported."""
    path = Path(key)
    if not path.is_absolute():
        return plugin.sha256
    return tree_sha256(path) if path.exists() else ""


def _load(key: str, name: str | EntryPoint) -> Plugin:
    if not isinstance(name, str):  # an entry point, of another class where importlib_metadata was imported
        name.load()
        root = _root_of(sys.modules[name.module])
        return Plugin(name.name, str(root), tree_sha256(root), _distribution(name).partition(" ")[2] or None)
    path = Path(key)
    if path.is_absolute():
        return _load_path(path, name)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"there is no module {error.name}. Install it, or give a file with its path, plugins=[./FILE.py]"
        ) from error
    root = _root_of(module)
    return Plugin(name, str(root), tree_sha256(root))


def _load_path(path: Path, name: str) -> Plugin:
    """Run a file, or a folder as a package. The hash is that of the content before it is run."""
    is_package = path.is_dir()
    file = path / INIT if is_package else path
    if not file.is_file():
        raise ConfigError(f"there is no file {file}. Check the path")
    sha256, texts = tree_sha256(path), _texts(path)
    module_name = f"mam_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == module_name]:
        del sys.modules[loaded]  # of an earlier content
    spec = importlib.util.spec_from_file_location(
        module_name, file, submodule_search_locations=[str(path)] if is_package else None
    )
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file}: is not a Python file. Its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        exec(compile(read_bytes(file), str(file), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[module_name]
        raise
    return Plugin(name, str(path), sha256, sources=texts)


def _texts(path: Path) -> dict[str, str]:
    """Return the sources of a path, with their places relative to the folder that contains it."""
    files = sorted(sources_of(path))
    try:
        return {file.relative_to(path.parent).as_posix(): read_text(file) for file in files}
    except MamError as error:
        raise ConfigError(str(error)) from error


def _root_of(module: ModuleType) -> Path:
    """Return the folder of the top-level package that a module belongs to, or the file of a module outside packages."""
    top = sys.modules[module.__name__.partition(".")[0]]
    file = getattr(top, "__file__", None) or module.__file__
    if file is None:
        raise ConfigError(f"the module {module.__name__} has no file. Add an __init__.py")
    path = resolved(Path(file))
    return path.parent if path.name == INIT else path


def _distribution(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _where(error: BaseException, key: str) -> str:
    """Return the error with the line of the plug-in at which it arose."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(key)]
    if not frames:
        return _in_words(error)
    return f"{frames[-1].filename}, line {frames[-1].lineno}: {frames[-1].line} ({_in_words(error)})"
