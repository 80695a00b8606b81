"""Sources: models of which only Q, K and V are ever read, tensor by tensor, straight from the file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from mam.errors import CheckpointError, MergeError, choices
from mam.models.attention import names_on_disk
from mam.models.checkpoints import Checkpoint

# model_type in config.json -> the field that holds the number of heads
SOURCES: dict[str, str] = {"bert": "num_attention_heads"}

Projection = tuple[Tensor, Tensor | None]  # weight [d, d], bias [d] or None; fp32


@dataclass(frozen=True)
class Source:
    """The attention of a source checkpoint, read lazily."""

    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        """Raises CheckpointError for an architecture that is not registered."""
        if self.checkpoint.model_type not in SOURCES:
            raise CheckpointError(
                f"model.source={self.checkpoint.id}: model_type {self.checkpoint.model_type!r} is not a known source."
                f" Known: {choices(list(SOURCES))}."
            )

    @cached_property
    def _names(self) -> list[dict[str, str]]:
        return names_on_disk(self.checkpoint.tensor_files, self.checkpoint.id)

    @property
    def layers(self) -> int:
        """Depth, by the tensors that are there."""
        return len(self._names)

    @property
    def heads(self) -> int:
        """Number of attention heads, by its configuration."""
        return int(self.checkpoint.config[SOURCES[self.checkpoint.model_type]])

    @cached_property
    def width(self) -> int:
        """d, by the first layer's query."""
        return int(self.read(0, "q")[0].shape[0])

    def read(self, layer: int, part: str) -> Projection:
        """Weight and bias of one projection, fp32. Raises MergeError where the weight is not square."""
        name = self._names[layer][part]
        has_bias = f"{name}.bias" in self.checkpoint.tensor_files
        tensors = self.checkpoint.read([f"{name}.weight", *([f"{name}.bias"] if has_bias else [])])
        weight = tensors[f"{name}.weight"]
        if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
            raise MergeError(f"{self.checkpoint.id}: {name}.weight is {tuple(weight.shape)}, not square.")
        return weight, tensors.get(f"{name}.bias")
