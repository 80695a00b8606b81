"""The use of the parts of a data set (train, dev, test), guessed from their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPLIT_NAMES = {
    "train": "train",
    "dev": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "test": "test",
}


def split_of(name: str) -> str | None:
    """Return the split that a name begins with as a word: ``test.clean``, ``dev_other`` and ``train-360`` have one."""
    return SPLIT_NAMES.get(re.split(r"[^a-z]", name.lower(), maxsplit=1)[0])


def splits_by_name(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the parts of each split.

    A part called exactly like a split is the split. Without one, all parts whose names begin with the split's belong
    to it, such as ``test.clean`` and ``test.other``.
    """
    found: dict[str, list[str]] = {}
    for split in dict.fromkeys(SPLIT_NAMES.values()):
        exact = [name for name in names if SPLIT_NAMES.get(name.lower()) == split]
        parts = exact or [name for name in names if split_of(name) == split]
        if parts:
            found[split] = parts
    return found
