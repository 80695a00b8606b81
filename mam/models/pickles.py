"""Pickled weights, read without running what code may be in them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.serialization import safe_globals

from mam.errors import CheckpointError


def unpickle(path: Path, also: Sequence[type] = ()) -> dict[str, Any]:
    """A pickled dict, memory-mapped; code in it is refused by torch's ``weights_only``.

    ``also`` are classes that may occur in it beside plain data.

    Raises:
        CheckpointError: damaged, more than plain data, or not a dict with names.
    """
    try:
        is_zip = zipfile.is_zipfile(path)  # what torch writes since 1.6; older files cannot be mapped
        with safe_globals(list(also)):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... for damaged files
        raise CheckpointError(
            f"{path}: is damaged or holds more than plain weights ({type(error).__name__})."
            " mam never runs code from a checkpoint; fetch it as safetensors."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not weights by name.")
    return state
