"""An index of the runs that a report read whole before, kept beside them: of such a run it reads the result alone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mam.errors import MamError
from mam.files import sha256_json, tidy, write_json
from mam.identity import code_sha256
from mam.records.reading import CONFIG
from mam.small_files import LARGE, read_json

INDEX = "index.json"


class Index:
    """The readable runs below a folder, each with the sizes and times of its files when it was read.

    An index that is missing, damaged or of other code counts as empty. One that cannot be written is not kept.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / INDEX
        self._before: dict[str, str] = {}
        with suppress(MamError):
            kept = read_json(self._path, LARGE)
            if isinstance(kept, dict) and kept.get("code") == code_sha256() and isinstance(kept.get("runs"), dict):
                self._before = kept["runs"]
        self._now: dict[str, str] = {}
        self._asked: dict[Path, tuple[str, str]] = {}

    def holds(self, run: Path) -> bool:
        """Return whether a run was read before, and none of its files has changed since."""
        name, state = self._asked[run] = self._entry(run)
        is_known = self._before.get(name) == state
        if is_known:
            self._now[name] = state
        return is_known

    def add(self, run: Path) -> None:
        """Take up a run that has been read whole after `holds` was asked for it, in the state that it had then."""
        name, state = self._asked[run]
        self._now[name] = state

    def save(self) -> None:
        """Write the index if it has changed; what a killed process left of writing it is removed in any case."""
        if self._now == self._before:
            tidy(self._path)
            return
        with suppress(MamError):
            write_json(self._path, {"code": code_sha256(), "runs": self._now})

    def _entry(self, run: Path) -> tuple[str, str]:
        with os.scandir(run) as entries:
            files = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
        if (run / CONFIG).is_file():
            files.append((str(CONFIG), (run / CONFIG).stat()))
        states = sorted((name, status.st_size, status.st_mtime_ns) for name, status in files)
        return os.path.relpath(run, self._path.parent), sha256_json(states)
