"""Numbers that a search for λ has computed so far, in one file: a search that was killed goes on by being replayed.

Every search proposes the next λ from its seed and earlier numbers alone. Begun anew with the numbers that are known, it
makes the same proposals as before, without computing them, and goes on from there. The file is only a saving of time:
where it is missing or damaged, everything is computed again, to the same result.

    {"sha256": ..., "numbers": {"0.1": [0.25], "[0.1, 0.2]": [0.5, 0.25], ...}}

The sum covers the name of the folder too, which is the hash of the question, so that the file of another search is
not taken for one's own. It shows damage; it is no signature.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mam import processes
from mam.errors import MamError
from mam.files import remove, sha256_json, write_json
from mam.small_files import read_json

NAME = "known.json"
LARGEST = 256_000_000  # bytes that are read
MOST = 1e9  # no rate, number of errors or length of an example reaches this

log = logging.getLogger("mam")


class Known:
    """The numbers that a search knows, by what they are of. All processes know the same; the main one writes them."""

    def __init__(self, folder: Path, say: Callable[[str], None] = log.warning) -> None:
        """Read what is known in ``folder``, which exists; what is damaged is reported with ``say`` and left out."""
        self._path = folder / NAME
        self._numbers = processes.from_main(_read(self._path, say) if processes.is_main() else {})

    def numbers(self, of: str, count: int, compute: Callable[[], Sequence[float]]) -> list[float]:
        """Return ``count`` numbers: those that are known under the name ``of``, or else computed and written down.

        Raises:
            MamError: the file cannot be written.
        """
        known = self._numbers.get(of)
        if known is None or len(known) != count:
            known = [float(number) for number in compute()]
            self._numbers[of] = known
            if processes.is_main():
                write_json(self._path, {"sha256": _sum(self._path, self._numbers), "numbers": self._numbers})
        return known


def _read(path: Path, say: Callable[[str], None]) -> dict[str, list[float]]:
    if not os.path.lexists(path):
        return {}
    try:
        return _checked(read_json(path, LARGEST), path)
    except MamError as error:
        say(f"{error} Its results are computed again")
        remove(path)
        return {}


def _checked(content: Any, path: Path) -> dict[str, list[float]]:
    if not isinstance(content, dict) or content.keys() != {"sha256", "numbers"}:
        raise MamError(f"{path}: was not written by a search.")
    numbers = content["numbers"]
    if not isinstance(numbers, dict) or not all(map(_are_numbers, numbers.values())):
        raise MamError(f"{path}: has entries that do not come from a search.")
    if content["sha256"] != _sum(path, numbers):
        raise MamError(f"{path}: was changed, or belongs to another search.")
    return {of: [float(number) for number in values] for of, values in numbers.items()}


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST for value in values
    )


def _sum(path: Path, numbers: dict[str, list[float]]) -> str:
    return sha256_json([path.parent.name, numbers])
