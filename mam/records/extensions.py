"""The parts of `result.json` about the user's own configurations and code."""

from __future__ import annotations

from dataclasses import dataclass, field

from mam.identity import Code
from mam.records.parts import ABSENT, Sha256


@dataclass(frozen=True)
class PluginRecord:
    """A plug-in that was used: its name, the hash of its code and, if it is installed, its version."""

    name: str
    sha256: Sha256
    version: str | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class ConfigFileRecord:
    """A configuration file of the user: group and name, path, hash, and whether it replaces one of mam's files."""

    name: str
    path: str
    sha256: Sha256
    hides: bool


@dataclass(frozen=True)
class Extensions:
    """The user's own configurations and code; copies of files given by a path are in ``.hydra/``."""

    configs: list[ConfigFileRecord]
    plugins: list[PluginRecord]


@dataclass(frozen=True)
class Rescoring:
    """The code that scored the saved predictions again; ``plugins`` are those used, None if there were none."""

    code: Code
    plugins: list[PluginRecord] | None = field(default=None, metadata=ABSENT)
