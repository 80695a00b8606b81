"""A checkpoint folder: found locally or downloaded from the hub, checked, hashed and read tensor by tensor."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mam.errors import CheckpointError, MamError, choices
from mam.files import local_path, sha256_file, sha256_json, sha256_of
from mam.models.beats_file import DOWNLOAD, read_original
from mam.models.pickles import unpickle
from mam.models.refusals import refuse_adapters
from mam.models.settings import class_config, root_of
from mam.small_files import MB, open_regular, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG = "config.json"
BEATS = (".pt", ".pth", ".ckpt")  # a single file in BEATs' original format
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
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
LARGEST_SETTINGS = 256 * MB  # tokenizers of many languages have tens of megabytes
SETTINGS = ("*.json", "*.txt", "*.model")  # configuration, tokenizer, feature extractor
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Checkpoint:
    """A folder with ``config.json`` and weights, or a BEATs file, which contains both.

    ``id`` is the configured name; ``revision`` is the hub's commit, or None.
    """

    id: str
    folder: Path
    revision: str | None
    weights: tuple[Path, ...]

    @property
    def is_safetensors(self) -> bool:
        """True if the weights are safetensors; otherwise they are pickles, read with ``weights_only=True``."""
        return self.weights[0].suffix == ".safetensors"

    @property
    def is_beats(self) -> bool:
        """True for a file in BEATs' original format."""
        return self.weights[0].suffix in BEATS

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of ``config.json`` or BEATs' ``cfg``; CheckpointError if it is missing or unusable."""
        if self.is_beats:
            return {**read_original(self.weights[0])["cfg"], "model_type": "beats"}
        path = self.folder / CONFIG
        try:
            config: dict[str, Any] = read_json(path, within=root_of(self.folder))
        except MamError as error:
            raise CheckpointError(f"{error} Is this a model folder?") from error
        if not isinstance(config, dict):
            raise CheckpointError(f"{path}: holds a {type(config).__name__}, not names and values. Fetch it again.")
        if "transformers_weights" in config:  # transformers would load files other than those hashed
            raise CheckpointError(f"{path}: names its weights by transformers_weights. Rename the file to {SINGLE}.")
        return config

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers, e.g. ``hubert``."""
        return str(self.config.get("model_type", "(none given)"))

    def with_defaults(self, key: str, section: str | None = None) -> Any:
        """Return a value of ``config.json`` or of one of its sections; a missing key has the default of its class.

        The result is None if neither has the key. Raises CheckpointError as `class_config` does.
        """
        config = self.config.get(section, {}) if section else self.config
        if isinstance(config, dict) and key in config:
            return config[key]
        if self.is_beats:
            return None
        config = self.class_config if section is None else getattr(self.class_config, section, None)
        return getattr(config, key, None)

    @cached_property
    def class_config(self) -> Any:
        """``config.json`` as an object of its transformers class; CheckpointError if it is not usable."""
        return class_config(self.folder, self.id)

    @cached_property
    def sha256(self) -> str:
        """The hash of the weights: that of a single file, or a hash of the names and hashes of all shards."""
        return sha256_of({path.name: sha256_file(path) for path in self.weights})

    @cached_property
    def fingerprint(self) -> str:
        """The hash of the weights and of all settings files beside them, which together determine predictions."""
        if self.is_beats:
            return self.sha256
        settings = sorted(path for pattern in SETTINGS for path in self.folder.glob(pattern) if path.is_file())
        return sha256_json([self.sha256, {path.name: sha256_file(path) for path in settings}])

    @cached_property
    def tensor_files(self) -> dict[str, Path]:
        """The file that contains each tensor; CheckpointError if a file is truncated or has the wrong format."""
        return {name: path for path in self.weights for name in self._names(path)}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read only these tensors, as fp32 on the CPU; CheckpointError if one is missing."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            if name not in self.tensor_files:
                raise CheckpointError(f"{self.id}: has no tensor {name}. Nearby: {choices(self._nearby(name))}")
            by_file.setdefault(self.tensor_files[name], []).append(name)
        tensors: dict[str, Tensor] = {}
        for path, tensor_names in by_file.items():
            if self.is_safetensors:
                with _open(path) as file:
                    tensors |= {name: file.get_tensor(name).float() for name in tensor_names}
            else:
                tensors |= {name: self._pickled[path][name].float().clone() for name in tensor_names}
        return tensors

    def read_as_stored(self, name: str) -> Tensor:
        """Read one tensor in the dtype of the file."""
        path = self.tensor_files[name]
        if not self.is_safetensors:
            return self._pickled[path][name]
        with _open(path) as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    @cached_property
    def headers(self) -> dict[str, tuple[list[int], str]]:
        """The shape and dtype of each tensor, without reading values.

        Dtypes have safetensors' names (``F32``), or torch's where safetensors has none.
        """
        headers: dict[str, tuple[list[int], str]] = {}
        for path in self.weights:
            if self.is_safetensors:
                with _open(path) as file:
                    views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a dict
                    headers |= {name: (list(view.get_shape()), str(view.get_dtype())) for name, view in views.items()}
            else:
                for name, tensor in self._pickled[path].items():
                    headers[name] = (list(tensor.shape), DTYPES.get(tensor.dtype, str(tensor.dtype)))
        return headers

    @cached_property
    def parameters(self) -> int:
        """The number of values in the weights; only headers are read."""
        return sum(math.prod(shape) for shape, _ in self.headers.values())

    @cached_property
    def _pickled(self) -> dict[Path, dict[str, Tensor]]:
        """The content of every pickle, memory-mapped, so that unread tensors take no memory."""
        return {path: read_original(path)["model"] if self.is_beats else _unpickle(path) for path in self.weights}

    def _names(self, path: Path) -> list[str]:
        if not self.is_safetensors:
            return list(self._pickled[path])
        with _open(path) as file:
            return list(file.keys())

    def _nearby(self, name: str) -> list[str]:
        ending = name.split(".")[-2:]
        return [tensor_name for tensor_name in self.tensor_files if tensor_name.split(".")[-2:] == ending][:5]


def locate(name: str, revision: str = "main", sha256: str | None = None) -> Checkpoint:
    """Find a checkpoint: ``asset:NAME``, a folder, a BEATs file, or a hub id at ``revision`` (downloaded once).

    safetensors are preferred; pickles are a fallback.

    Args:
        name: The configured name.
        revision: The revision of a hub id.
        sha256: The required hash of the weights, as in `Checkpoint.sha256`; None accepts any.

    Raises:
        CheckpointError: The folder or file does not exist, has no weights, lacks a shard or has another hash, or the
            hub cannot be reached.
    """
    checkpoint = _find(name, revision)
    if sha256 is not None and checkpoint.sha256 != sha256.lower():
        raise CheckpointError(
            f"{name}: the SHA-256 of its weights is {checkpoint.sha256}, not {sha256}. Fetch it again."
        )
    return checkpoint


def _find(name: str, revision: str) -> Checkpoint:
    folder = local_path(name)
    if folder.is_file() or (folder.suffix in BEATS and not folder.exists()):
        return _of_file(folder, name)
    if folder.is_dir():
        if revision != "main":
            raise CheckpointError(f"{name}: is a folder, which has no revision {revision!r}. Leave the revision out.")
        refuse_adapters(folder, name)
        _refuse_odd_settings(folder)
        return Checkpoint(name, folder, None, _weights(folder, name))
    if not _HUB_ID.fullmatch(name) or name.startswith("."):
        raise CheckpointError(f"{name}: there is no such folder, and it is not a hub id of the form owner/name.")
    folder = _download(name, revision, (*SETTINGS, "model*.safetensors"))
    refuse_adapters(folder, name)
    _refuse_odd_settings(folder)
    if not any(folder.glob("model*.safetensors")):
        folder = _download(name, revision, (*SETTINGS, "pytorch_model*.bin"))
    return Checkpoint(name, folder, folder.name, _weights(folder, name))


def _of_file(path: Path, name: str) -> Checkpoint:
    """Accept a BEATs file, or a weights or configuration file, which stands for its folder."""
    if path.suffix in BEATS:
        if not path.is_file():
            raise CheckpointError(f"{name}: there is no such file. {DOWNLOAD}")
        return Checkpoint(name, path.parent, None, (path,))
    refuse_adapters(path.parent, name)
    _refuse_odd_settings(path.parent)
    if path.name in (SINGLE, PICKLE) and (path.parent / CONFIG).is_file():
        return Checkpoint(name, path.parent, None, (path,))
    if path.name in (INDEX, PICKLE_INDEX, CONFIG):
        return Checkpoint(name, path.parent, None, _weights(path.parent, name))
    has_config = (path.parent / CONFIG).is_file()
    remedy = f"Give the folder: {path.parent}" if has_config else f"There is no {CONFIG} beside it"
    raise CheckpointError(
        f"{name}: is a file. mam reads a folder with {CONFIG} and {SINGLE}, or one BEATs file ({', '.join(BEATS)})."
        f" {remedy}."
    )


def _refuse_odd_settings(folder: Path) -> None:
    """Raise CheckpointError for a settings file that transformers could not read safely.

    That is one that is no regular file, is too large, or is a link to something outside of the folder.
    """
    for path in (path for pattern in SETTINGS for path in sorted(folder.glob(pattern))):
        try:
            open_regular(path, LARGEST_SETTINGS, root_of(folder)).close()
        except MamError as error:
            raise CheckpointError(str(error)) from error


def _download(name: str, revision: str, patterns: Sequence[str]) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{name}: is not a folder here, and the hub cannot be reached or HF_HUB_OFFLINE is set."
            f" Go online, fetch it elsewhere with `hf download {name}` and copy the cache, or give a folder."
        ) from error
    except Exception as error:  # the hub's client raises many types, including those of its HTTP library
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise CheckpointError(f"{name}: the hub does not give it at revision {revision!r}: {reason}") from error


def _weights(folder: Path, name: str) -> tuple[Path, ...]:
    """Return the weight files of a folder, which must all exist; shards are sorted by name."""
    for single, index in ((SINGLE, INDEX), (PICKLE, PICKLE_INDEX)):
        if (folder / single).is_file():
            return (folder / single,)
        if (folder / index).is_file():
            try:
                shards = sorted(set(read_json(folder / index, within=root_of(folder))["weight_map"].values()))
                if not shards or any(Path(shard).name != shard for shard in shards):
                    raise ValueError("its shards must be plain file names, at least one")
            except (MamError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{folder / index}: is not an index of shards ({error}).") from error
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            if missing:
                raise CheckpointError(
                    f"{name}: {len(missing)} of {len(shards)} shards are missing: {choices(missing)}."
                )
            return tuple(folder / shard for shard in shards)
    beats = [path for path in folder.iterdir() if path.suffix in BEATS]
    if len(beats) == 1 and not (folder / CONFIG).is_file():
        raise CheckpointError(f"{name}: is a folder. Give the file in it: {folder / beats[0].name}.")
    raise CheckpointError(
        f"{name}: {folder} has no weights. Expected {SINGLE} (or its shards' index, or {PICKLE});"
        f" there is: {choices([path.name for path in folder.iterdir()])}."
    )


def _open(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is truncated or not safetensors ({error}). Fetch it again.") from error


def _unpickle(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a pickled state dict, memory-mapped."""
    return {name: tensor for name, tensor in unpickle(path).items() if isinstance(tensor, Tensor)}
