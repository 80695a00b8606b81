"""Whisper's normalizers, as the package whisper-normalizer has them."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any


def of_whisper(module: str, name: str) -> Any:
    """Create one of the package's classes, which reads its list of spellings from disk.

    Args:
        module: ``basic`` or ``english``.
        name: The class.
    """
    with warnings.catch_warnings():
        for category in (SyntaxWarning, DeprecationWarning):  # of a backslash in a docstring; the latter on 3.11
            warnings.simplefilter("ignore", category)
        return getattr(import_module(f"whisper_normalizer.{module}"), name)()
