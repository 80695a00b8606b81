"""The location of Q, K and V in an encoder, found by walking its modules.

Shapes: ``d`` is the width; a projection's weight is [d, d] as [out, in], its bias [d].
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from mam.errors import MergeError, choices
from mam.models.names import OUTPUTS, SPELLINGS


@dataclass(frozen=True)
class AttentionBlock:
    """The projections of one layer, as modules of the model itself: writing to them changes the model.

    ``o`` is the output projection, or None if there is none; ``owner`` is the module that contains ``q``, ``k`` and
    ``v``.
    """

    layer: int
    owner: nn.Module
    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    o: nn.Linear | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the existing projections."""
        return ("q", "k", "v") if self.o is None else ("q", "k", "v", "o")

    def projection(self, part: str) -> nn.Linear:
        """Return the projection ``"q"``, ``"k"``, ``"v"`` or ``"o"``; MergeError if there is no ``"o"``."""
        linear = {"q": self.q, "k": self.k, "v": self.v, "o": self.o}[part]
        if linear is None:
            raise MergeError("parts: o is not there; the target has no projection of its attention's output.")
        return linear

    @property
    def width(self) -> int:
        """The width d."""
        return self.q.in_features


def find_blocks(encoder: nn.Module) -> list[AttentionBlock]:
    """Find the self-attention of every layer in ``encoder``.

    The layers are the only list of modules in which each item has exactly one Q, K, V triple.

    Raises:
        MergeError: There is not exactly one such list, or a projection is not square; the message names what was found.
    """
    stacks: dict[str, list[AttentionBlock]] = {}
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module):
            triples_by_layer = [_triples(layer) for layer in module]
            if all(len(triples) == 1 for triples in triples_by_layer):
                stacks[name] = [AttentionBlock(i, *triples[0]) for i, triples in enumerate(triples_by_layer)]
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
        for part in block.parts:
            linear_shape = tuple(block.projection(part).weight.shape)
            if linear_shape != (block.width, block.width):
                raise MergeError(
                    f"{type(encoder).__name__}: layer {block.layer}, {part}: {linear_shape} is not square."
                )
    return blocks


def _triples(layer: nn.Module) -> list[tuple[nn.Module, nn.Linear, nn.Linear, nn.Linear, nn.Linear | None]]:
    triples = []
    for module in layer.modules():
        for spelling in SPELLINGS:
            children = [getattr(module, name, None) for name in spelling]
            q, k, v = children
            if isinstance(q, nn.Linear) and isinstance(k, nn.Linear) and isinstance(v, nn.Linear):
                outputs = [getattr(module, name, None) for name in OUTPUTS]
                o = next((output for output in outputs if isinstance(output, nn.Linear)), None)
                triples.append((module, q, k, v, o))
    return triples
