"""The JSON files beside a checkpoint's weights, and the defaults of transformers' classes for missing keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from mam.errors import CheckpointError, MamError, shortened
from mam.small_files import read_json


class Configured(Protocol):
    """Anything with a name for messages and the content of a model's ``config.json``."""

    @property
    def id(self) -> str:
        """The name."""

    @property
    def config(self) -> dict[str, Any]:
        """The values by name."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; empty if there is no such file.

    Raises:
        CheckpointError: The file is unreadable, not JSON, or not an object.
    """
    if not path.exists():
        return {}
    try:
        content = read_json(path, within=root_of(path.parent))
    except MamError as error:
        raise CheckpointError(f"{error} Download it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: contains a {type(content).__name__}, not a JSON object. Download it again.")
    return content


def root_of(folder: Path) -> Path:
    """Return the folder that the files of a model's folder must not leave.

    In the hub's cache, a snapshot's files are links into the folder of its repository.
    """
    is_snapshot = folder.parent.name == "snapshots" and (folder.parents[1] / "blobs").is_dir()
    return folder.parents[1] if is_snapshot else folder


def class_config(folder: Path, name: str) -> Any:
    """Load ``config.json`` with transformers, whose class fills in defaults for missing keys.

    Raises:
        CheckpointError: transformers rejects the file, or a value is of another type than its default.
    """
    from transformers import AutoConfig  # imported here because reading plain values does not need it

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        default = type(config)()
    except Exception as error:  # transformers raises many types; all mean that config.json is not usable
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{name}: its config.json cannot be used: {reason}") from error
    odd = next(_of_another_type(read_settings(folder / "config.json"), default), None)
    if odd is not None:
        raise CheckpointError(f"{name}: its config.json cannot be used: {odd}. Download it again.")
    return config


def _of_another_type(values: Mapping[str, Any], default: Any, above: str = "") -> Iterator[str]:
    """Yield in words each value of another type than its default in a class of transformers, which may not check it."""
    for key, value in values.items():
        usual = getattr(default, key, None)
        if isinstance(value, Mapping) and hasattr(usual, "to_dict"):
            yield from _of_another_type(value, usual, f"{above}{key}.")
        elif not _is_like(value, usual):
            yield f"{above}{key} is {shortened(value)}, whose type differs from that of the default {shortened(usual)}"


def _is_like(value: Any, usual: Any) -> bool:
    """Return whether a value of JSON is of the type of ``usual``; null is of every type."""
    if value is None or usual is None:
        return True
    if isinstance(usual, bool):
        return value in (True, False)  # 0 and 1 too
    if isinstance(usual, int | float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (isinstance(usual, float) or float(value).is_integer())
    if isinstance(usual, list | tuple):
        return isinstance(value, list) and all(_is_like(part, usual[0] if usual else None) for part in value)
    return not isinstance(usual, str) or isinstance(value, str)
