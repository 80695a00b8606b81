"""Where a backbone keeps Q, K and V: in modules (by walking them) and on disk (by the names of tensors).

Shapes: ``d`` is the width; a projection's weight is [d, d] as [out, in], its bias [d].
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from mam.errors import MergeError, choices

# What the three projections of one self-attention are called, across transformers.
SPELLINGS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("linear_q", "linear_k", "linear_v"),
)
_ON_DISK = re.compile(r"(?P<stack>.+)\.(?P<layer>\d+)\.(?P<block>.+)\.(?P<name>\w+)\.weight")


@dataclass(frozen=True)
class AttentionBlock:
    """The three projections of one layer, as modules of the model itself: writing to them changes the model."""

    layer: int
    q: nn.Linear
    k: nn.Linear
    v: nn.Linear

    def projection(self, part: str) -> nn.Linear:
        """``part`` is ``"q"``, ``"k"`` or ``"v"``."""
        return {"q": self.q, "k": self.k, "v": self.v}[part]

    @property
    def width(self) -> int:
        """d."""
        return self.q.in_features


def find_blocks(encoder: nn.Module) -> list[AttentionBlock]:
    """The self-attention of every layer of ``encoder``: the one list of layers that hold one Q, K, V triple each.

    Raises:
        MergeError: no such list, or a projection that is not square; names what was found.
    """
    stacks: dict[str, list[AttentionBlock]] = {}
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module):
            triples = [_triples(layer) for layer in module]
            if all(len(found) == 1 for found in triples):
                stacks[name] = [AttentionBlock(i, *found[0]) for i, found in enumerate(triples)]
    if len(stacks) != 1:
        linear = sorted(
            {name.split(".")[-1] for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
        )
        raise MergeError(
            f"{type(encoder).__name__}: expected one list of layers with Q, K and V in each, found {len(stacks)}"
            f" ({choices(list(stacks))}). Its linear layers are called: {choices(linear)}."
        )
    blocks = next(iter(stacks.values()))
    for block in blocks:
        for part in "qkv":
            linear_shape = tuple(block.projection(part).weight.shape)
            if linear_shape != (block.width, block.width):
                raise MergeError(
                    f"{type(encoder).__name__}: layer {block.layer}, {part}: {linear_shape} is not square."
                )
    return blocks


def _triples(layer: nn.Module) -> list[tuple[nn.Linear, nn.Linear, nn.Linear]]:
    found = []
    for module in layer.modules():
        for spelling in SPELLINGS:
            children = [getattr(module, name, None) for name in spelling]
            q, k, v = children
            if isinstance(q, nn.Linear) and isinstance(k, nn.Linear) and isinstance(v, nn.Linear):
                found.append((q, k, v))
    return found


def names_on_disk(tensor_names: Iterable[str], checkpoint_id: str) -> list[dict[str, str]]:
    """For each layer: part -> name without ``.weight`` of its tensors in the file.

    Raises:
        MergeError: no layers with Q, K and V, several stacks of them, or a layer that lacks one; names what was found.
    """
    part_of = {name: part for spelling in SPELLINGS for name, part in zip(spelling, "qkv", strict=True)}
    stacks: dict[tuple[str, str], dict[int, dict[str, str]]] = {}
    for name in tensor_names:
        match = _ON_DISK.fullmatch(name)
        if match and match["name"] in part_of:
            layers = stacks.setdefault((match["stack"], match["block"]), {})
            layers.setdefault(int(match["layer"]), {})[part_of[match["name"]]] = name.removesuffix(".weight")
    if len(stacks) != 1:
        found = [f"{stack}.N.{block}" for stack, block in stacks]
        raise MergeError(
            f"{checkpoint_id}: expected one stack of Q, K, V tensors, found {len(stacks)}: {choices(found)}."
        )
    (stack, block), layers = next(iter(stacks.items()))
    for layer in range(max(layers) + 1):
        lacking = [part for part in "qkv" if part not in layers.get(layer, {})]
        if lacking:
            raise MergeError(
                f"{checkpoint_id}: {stack}.{layer}.{block} lacks {', '.join(lacking)}. Is the file complete?"
            )
    return [layers[layer] for layer in range(len(layers))]
