"""Pairs of checkpoints listed in ``study.pairs``, as words of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from mam.errors import ConfigError
from mam.files import ASSET_SCHEME
from mam.models.locate import locate
from mam.models.sources import Source


def words_of_pairs(pairs: Sequence[Any]) -> dict[str, list[str]]:
    """Return the words for each pair by its name, including the shapes of the checkpoints.

    A pair is named after both checkpoints, or after the source alone if the target is always the same.

    Args:
        pairs: ``study.pairs``, each [target, source].

    Raises:
        ConfigError: an entry that is not two names.
        CheckpointError, MergeError: a checkpoint that does not exist or is of an unknown kind.
    """
    words_by_name: dict[str, list[str]] = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise ConfigError(
                f"study.pairs: {pair} is not of the form [TARGET, SOURCE]. Use 'study.pairs=[[T1,S1],[T2,S2]]'"
            )
        words = []
        for side, name in zip(("target", "source"), pair, strict=True):
            model = Source(locate(name))
            shape = {"layers": model.layers, "width": model.width, "heads": model.heads}
            words += [f"model.{side}={name}", *(f"model.{side}_shape.{key}={value}" for key, value in shape.items())]
        targets = {str(other[0]) for other in pairs if other}
        named = pair[1:] if len(targets) == 1 < len(pairs) else pair
        stems = [PurePath(checkpoint.removeprefix(ASSET_SCHEME)).name for checkpoint in named]
        name = re.sub(r"[^\w.+-]", "_", "+".join(stems))
        name = f"{name}-{len(words_by_name) + 1}" if name in words_by_name else name
        words_by_name[name] = [f"model.name={name}", "model.pretrained_on=[]", *words]
    return words_by_name
