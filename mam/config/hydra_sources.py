"""Hydra's loader of configurations, with files checked or remembered as they are read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import ClassVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult, ConfigSource

from mam.errors import ConfigError, MamError
from mam.small_files import read_yaml_text

REMEMBERED = ("hydra.conf", "mam.conf")  # packages whose files do not change while a process runs


def loader_of(path: ConfigSearchPath) -> ConfigLoader:
    """Return Hydra's loader for a search path."""
    loader = ConfigLoaderImpl(path)
    sources = loader.repository.sources
    sources[:] = map(_ours, sources)
    return loader


def _ours(source: ConfigSource) -> ConfigSource:
    """Return what reads a source; told by scheme, because Hydra's search for plug-ins replaces the classes."""
    if source.scheme() == FileConfigSource.scheme():
        return _CheckedFiles(source.provider, source.path)
    if source.scheme() == ImportlibResourcesConfigSource.scheme() and source.path in REMEMBERED:
        return _RememberedFiles(source.provider, f"{source.scheme()}://{source.path}")
    return source


class _CheckedFiles(FileConfigSource):
    """The files of a folder, each checked before Hydra reads it and expands its aliases."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a file's content. Raises ConfigError if it is not safe to load."""
        try:
            read_yaml_text(Path(self.path, self._normalize_file_name(config_path)))
        except MamError as error:
            raise ConfigError(str(error).rstrip(".")) from error
        return super().load_config(config_path)


class _RememberedFiles(ImportlibResourcesConfigSource):
    """The files of a package, each parsed once."""

    _parsed: ClassVar[dict[tuple[str, str], ConfigResult]] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a file's content."""
        place = self.path, config_path
        if place not in self._parsed:
            self._parsed[place] = super().load_config(config_path)
        return copy.deepcopy(self._parsed[place])
