"""The attention of models in memory: modules that a user has loaded, found by their structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mam.errors import CheckpointError, MergeError, choices
from mam.merging.methods import Projection
from mam.merging.shape import Shape
from mam.models.blocks import AttentionBlock, find_blocks, find_decoder
from mam.models.families import TARGETS
from mam.models.names import OnDisk, missing_part, names_on_disk
from mam.models.refusals import DEQUANTISE, MERGE
from mam.models.sources import SOURCES

WRAPPERS = ("_orig_mod", "module")  # of torch.compile, and of DataParallel and its kin
HEADS = ("num_heads", "num_attention_heads", "n_heads", "encoder_attention_heads", "heads")


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers such as that of torch.compile, which share its parameters."""
    for name in WRAPPERS:
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module) and type(model).__module__.startswith("torch."):
            return unwrapped(inner)
    return model


@dataclass(frozen=True)
class LiveModel:
    """A model in memory as one side of a merge; ``side`` is ``target`` or ``source``, for messages."""

    model: nn.Module
    side: str

    def __post_init__(self) -> None:
        """Raise CheckpointError for weights that are not plain numbers: quantised ones and adapters."""
        config = getattr(self.model, "config", None)
        if getattr(config, "quantization_config", None):
            raise CheckpointError(f"{self.id}: is quantised, so its weights cannot be merged. {DEQUANTISE}.")
        peft = next((module for module in self.model.modules() if type(module).__module__.startswith("peft.")), None)
        if peft is not None:
            raise CheckpointError(f"{self.id}: has an adapter ({type(peft).__name__}). {MERGE}, loaded again.")

    @property
    def id(self) -> str:
        """The model in messages."""
        return f"{self.side} {type(self.model).__name__}"

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers; "" for other modules."""
        return str(getattr(getattr(self.model, "config", None), "model_type", ""))

    @cached_property
    def blocks(self) -> list[AttentionBlock]:
        """The attention of every layer, as `Shape` numbers them; MergeError as `find_blocks` raises it."""
        try:
            return [*self._encoder, *find_decoder(self.model, len(self._encoder))]
        except MergeError as error:
            several = "If the model consists of several models, pass only the one to merge."
            raise MergeError(f"{self.side}: {error} {several}") from error

    @cached_property
    def _encoder(self) -> list[AttentionBlock]:
        return find_blocks(self.model)

    def parts_at(self, layer: int) -> tuple[str, ...]:
        """Return the parts of a layer that exist."""
        return tuple(self._fused[layer]) if self._fused is not None else self.blocks[layer].parts

    @cached_property
    def shape(self) -> Shape:
        """The depth, width and number of heads."""
        if self._fused is None:
            first, layers = self.blocks[0], len(self._encoder)
            return Shape(layers, first.width, self._heads(first.owner), (len(self.blocks) - layers) // 2)
        return Shape(len(self._fused), len(self.read(0, "q")[0]), self._heads(self.model))

    def read(self, layer: int, part: str) -> Projection:
        """Return weight ``[d, d]`` and bias ``[d]`` or None of one projection, fp32 on the CPU.

        Raises:
            MergeError: The projection does not exist or is not a plain linear layer.
        """
        if self._fused is None:
            linear: Any = self.blocks[layer].projection(part)
            refuse_unplain(linear, f"{self.id}: layer {layer}, {part}", nn.Module if part[0] == "n" else nn.Linear)
            bias = getattr(linear, "bias", None)  # some norms have none
            return _plain(linear.weight), None if bias is None else _plain(bias)
        if part not in self._fused[layer]:
            raise MergeError(missing_part(part, self.id))
        place, tensors = self._fused[layer][part], self._tensors
        weight, bias = tensors[f"{place.name}.weight"], tensors.get(f"{place.name}.bias")
        third = slice(None) if place.third is None else slice(*_bounds(len(weight), place.third))
        return _plain(weight[third]), None if bias is None else _plain(bias[third])

    def reads_query(self) -> str | None:
        """Return what reads the projected query besides its product with the keys; None if nothing is known to."""
        family = TARGETS.get(self.model_type)
        return None if family is None else family.reads_query(self)

    @property
    def config(self) -> dict[str, Any]:
        """The model's configuration as plain values."""
        config: Any = getattr(self.model, "config", None)
        return dict(config.to_dict()) if hasattr(config, "to_dict") else {}

    @cached_property
    def _fused(self) -> list[dict[str, OnDisk]] | None:
        """The places of projections, for a source with one tensor for Q, K and V; None if they are modules."""
        if self.side == "target":
            return None
        try:
            _ = self.blocks
            return None
        except MergeError:
            family = SOURCES.get(self.model_type)
            try:
                return names_on_disk(self._tensors, self.id, family.stack if family else None)
            except MergeError:
                return None  # the message about modules says more

    @cached_property
    def _tensors(self) -> Mapping[str, Tensor]:
        return self.model.state_dict()

    def _heads(self, attention: nn.Module) -> int:
        """Return the number of heads that the attention's module or the configuration names."""
        config = getattr(self.model, "config", None)
        family = SOURCES.get(self.model_type)
        section = getattr(config, family.section, None) if family and family.section else config
        for place, names in ((section, [family.heads] if family else []), (attention, HEADS), (config, HEADS)):
            for name in names:
                count = getattr(place, name, None)
                if isinstance(count, int) and count > 0:
                    return count
        raise MergeError(f"{self.id}: does not state its number of attention heads ({choices(HEADS)}).")


def refuse_unplain(linear: Any, place: str, kind: type[nn.Module] = nn.Linear) -> None:
    """Raise MergeError unless a module of this kind has plain floating-point weights that can be read and written."""
    if parametrize.is_parametrized(linear) or linear._parameters.get("weight") is None:
        raise MergeError(
            f"{place}: is parametrised, so its weight is computed in every forward pass. Remove the parametrisation"
            " (handle.fold() of mam.learnable; torch's remove_parametrizations, prune.remove, remove_weight_norm)."
        )
    if not isinstance(linear, kind) or type(linear.weight) is not nn.Parameter:
        raise MergeError(f"{place}: is a {type(linear).__name__}, whose weights are not plain numbers. {DEQUANTISE}.")
    for tensor in (linear.weight, getattr(linear, "bias", None)):
        if tensor is None:
            continue
        if not tensor.is_floating_point():
            raise MergeError(f"{place}: has weights of {tensor.dtype}. {DEQUANTISE}.")
        if tensor.is_meta:
            raise MergeError(f"{place}: has no values (device meta). Load the model with its weights.")
        if tensor.is_inference():
            raise MergeError(f"{place}: was created in torch.inference_mode(). Load the model outside it.")


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _bounds(rows: int, third: int) -> tuple[int, int]:
    return rows // 3 * third, rows // 3 * (third + 1)
