"""A checkpoint folder: found locally or downloaded from the hub, checked, hashed and read tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from mam.errors import CheckpointError, MamError, choices, shortened
from mam.files import sha256_file, sha256_json, sha256_of
from mam.memory import is_shortage
from mam.models.settings import class_config, root_of
from mam.small_files import read_json

if TYPE_CHECKING:  # what is read without torch is: settings, hashes, names and shapes
    from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG = "config.json"
BEATS = (".pt", ".pth", ".ckpt")  # a single file in BEATs' original format
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
LAYERS, SIZES = 1_000, 1_000_000  # as many layers or values a config.json may state whatever the weights are
DOWNLOAD = (
    "BEATs checkpoints (e.g. BEATs_iter3_plus_AS2M.pt, 361 MB) were published with microsoft/unilm, folder beats, but"
    " the links there are dead. Set model.target=FILE.pt to a copy that you trust, and model.target_sha256 to its hash."
)
SETTINGS = ("*.json", "*.txt", "*.model")  # configuration, tokenizer, feature extractor


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
            from mam.models.beats_file import read_original

            return {**read_original(self.weights[0])["cfg"], "model_type": "beats"}
        path = self.folder / CONFIG
        try:
            config: dict[str, Any] = read_json(path, within=root_of(self.folder))
        except MamError as error:
            raise CheckpointError(f"{error} Is this a model folder?") from error
        if not isinstance(config, dict):
            raise CheckpointError(f"{path}: contains a {type(config).__name__}, not a JSON object. Download it again.")
        if "transformers_weights" in config:  # transformers would load files other than those hashed
            raise CheckpointError(
                f"{path}: transformers_weights is not supported. Rename the weights file to {SINGLE}."
            )
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

    def number(self, key: str, section: str | None = None) -> int:
        """Return a positive number of ``config.json`` or of one of its sections, or the default of its class.

        Raises:
            CheckpointError: It is no number from 1 to 2^31, or neither has it. Also as `class_config` does.
        """
        return self._checked(self.with_defaults(key, section), f"{section}.{key}" if section else key)

    def numbers(self, key: str) -> list[int]:
        """Return a list of positive numbers, such as the strides of convolutions; raises as `number` does."""
        values = self.with_defaults(key)
        if not isinstance(values, list | tuple) or not values:
            raise CheckpointError(
                f"{self.id}: {key} in its {CONFIG} is {shortened(values)}. It must be a list of numbers."
            )
        return [self._checked(value, key) for value in values]

    def _checked(self, value: Any, key: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 2**31:
            return value
        raise CheckpointError(f"{self.id}: {key} in its {CONFIG} is {shortened(value)}. It must be 1 or more.")

    @cached_property
    def class_config(self) -> Any:
        """``config.json`` as an object of its transformers class; CheckpointError if it is not usable."""
        self._refuse_claims()
        return class_config(self.folder, self.id)

    def _refuse_claims(self) -> None:
        """Raise CheckpointError if ``config.json`` states more layers or larger sizes than the weights can have.

        A model of it would be built before its weights are compared with those of the file.
        """
        most = {True: max(LAYERS, len(self.tensor_files)), False: max(SIZES, self.parameters)}
        for key, value in self.config.items():
            is_share = key.endswith(("dropout", "layerdrop")) and isinstance(value, int | float)
            if is_share and not 0 <= value <= 1:
                raise CheckpointError(f"{self.id}: {key} in its {CONFIG} is {value}. It must be from 0 to 1.")
            is_depth = "layer" in key or key == "depth"
            if isinstance(value, int) and value > most[is_depth]:
                there = f"{len(self.tensor_files)} tensors" if is_depth else f"{self.parameters} values"
                raise CheckpointError(f"{self.id}: {key} in its {CONFIG} is {value}, but its weights have {there}.")

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
                raise CheckpointError(f"{self.id}: has no tensor {name}. Similar names: {choices(self._nearby(name))}")
            by_file.setdefault(self.tensor_files[name], []).append(name)
        tensors: dict[str, Tensor] = {}
        for path, tensor_names in by_file.items():
            if self.is_safetensors:
                with _open(path, "pt") as file:
                    tensors |= {name: file.get_tensor(name).float() for name in tensor_names}
            else:
                tensors |= {name: self._pickled[path][name].float().clone() for name in tensor_names}
        return tensors

    def read_as_stored(self, name: str) -> Tensor:
        """Read one tensor in the dtype of the file."""
        path = self.tensor_files[name]
        if not self.is_safetensors:
            return self._pickled[path][name]
        with _open(path, "pt") as file:
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
                from mam.models.pickles import DTYPES

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
        from mam.models.beats_file import read_original
        from mam.models.pickles import tensors_of

        return {path: read_original(path)["model"] if self.is_beats else tensors_of(path) for path in self.weights}

    def _names(self, path: Path) -> list[str]:
        if not self.is_safetensors:
            return list(self._pickled[path])
        with _open(path) as file:
            return list(file.keys())

    def _nearby(self, name: str) -> list[str]:
        ending = name.split(".")[-2:]
        return [tensor_name for tensor_name in self.tensor_files if tensor_name.split(".")[-2:] == ending][:5]


def _open(path: Path, framework: str = "np") -> Any:
    try:
        return safe_open(str(path), framework=framework)
    except (SafetensorError, OSError) as error:
        if is_shortage(error):
            raise
        raise CheckpointError(
            f"{path}: is truncated or not a safetensors file ({error}). Download it again."
        ) from error
