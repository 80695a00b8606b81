"""Readings of a target as JSON, for the cache."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


def items_to_json(items: list[Any]) -> Any:
    """Return items as JSON: texts unchanged, vectors as the base64 of their fp32 matrix ``[n, d]``, bit for bit."""
    if isinstance(items[0], str):
        return items
    matrix = np.stack(items).astype("<f4")
    return {"shape": list(matrix.shape), "fp32": base64.b64encode(matrix.tobytes()).decode()}


def items_from_json(content: Any) -> list[Any]:
    """Return the items that `packed` turned into ``content``."""
    if isinstance(content, list):
        return content
    values = np.frombuffer(base64.b64decode(content["fp32"]), dtype="<f4")
    return list(values.reshape(content["shape"]))
