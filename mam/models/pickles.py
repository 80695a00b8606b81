"""Pickled weights, read without running code in them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from mam.errors import CheckpointError

DTYPES = {  # torch's dtypes -> safetensors' names
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


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
            f"{path}: is damaged or contains more than plain weights ({type(error).__name__})."
            " mam never runs code from a checkpoint. Use a safetensors version."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{path}: contains a {type(state).__name__}, not a mapping of names to weights.")
    return state


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a pickled state dict, memory-mapped; raises CheckpointError as `unpickle` does."""
    return {name: tensor for name, tensor in unpickle(path).items() if isinstance(tensor, Tensor)}
