"""Pickled weights, read without running code in them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.serialization import safe_globals

from mam.errors import CheckpointError


def unpickle(path: Path, also: Sequence[type] = ()) -> dict[str, Any]:
    """Read a pickled dict, memory-mapped; torch's ``weights_only`` rejects code in it.

    Args:
        path: The file.
        also: Classes that are allowed in it beside plain data.

    Raises:
        CheckpointError: The file is damaged, contains more than plain data, or is not a dict with names.
    """
    try:
        is_zip = zipfile.is_zipfile(path)  # torch's format since 1.6; older files cannot be mapped
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
