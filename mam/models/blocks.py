"""The location of Q, K and V, and of what is merged beside them, found by walking a model's modules.

Shapes: ``d`` is the width; a projection's weight is [d, d] as [out, in], its bias [d].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from mam.errors import MergeError, choices
from mam.models.names import CROSS, OUTPUT_BLOCK, OUTPUTS, SPELLINGS, beside, missing_part


@dataclass(frozen=True)
class AttentionBlock:
    """The merged modules of one layer, as modules of the model itself: writing to them changes the model.

    ``o`` is the output projection, or None if there is none; ``owner`` is the module that contains ``q``, ``k`` and
    ``v``. ``others`` has the feed-forward layers and norms of the layer by part, as far as they exist.
    """

    layer: int
    owner: nn.Module
    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    o: nn.Linear | None = None
    others: Mapping[str, nn.Module] = field(default_factory=dict)

    @property
    def attention(self) -> dict[str, nn.Linear]:
        """The projections of attention by part."""
        projections = {"q": self.q, "k": self.k, "v": self.v}
        return projections if self.o is None else projections | {"o": self.o}

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of all existing parts; see `mam.merging.selection.PARTS`."""
        return (*self.attention, *self.others)

    def projection(self, part: str) -> Any:
        """Return the module of a part, which has a weight and perhaps a bias; MergeError if it does not exist."""
        module = {**self.attention, **self.others}.get(part)
        if module is None:
            raise MergeError(missing_part(part, "the target"))
        return module

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
    for name, layers in _lists(encoder):
        found = [_attentions(layer, i) for i, layer in enumerate(layers)]
        if all(len(blocks) == 1 for blocks in found):
            stacks[name] = [blocks[0][1] for blocks in found]
    if len(stacks) != 1:
        linear = sorted(
            {name.split(".")[-1] for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
        )
        raise MergeError(
            f"{type(encoder).__name__}: expected one list of layers with Q, K and V in each, found {len(stacks)}"
            f" ({choices(list(stacks))}). The names of its linear layers are: {choices(linear)}."
        )
    return _checked(next(iter(stacks.values())), type(encoder).__name__)


def find_decoder(model: nn.Module, first: int) -> list[AttentionBlock]:
    """Find the self-attention and then the cross-attention of every layer of a decoder, numbered from ``first``.

    The list is empty without a decoder, whose layers have two Q, K, V triples each, the second named as in `CROSS`.
    """
    for _, layers in _lists(model):
        found = [_attentions(layer, i) for i, layer in enumerate(layers)]
        if all([bool(CROSS.search(path)) for path, _ in blocks] == [False, True] for blocks in found):
            blocks = [pair[kind][1] for kind in (0, 1) for pair in found]
            numbered = [replace(block, layer=first + i) for i, block in enumerate(blocks)]
            return _checked(numbered, type(model).__name__)
    return []


def _lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    return (
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    )


def _attentions(layer: nn.Module, number: int) -> list[tuple[str, AttentionBlock]]:
    """Return the attention blocks within a layer, with their paths."""
    modules = dict(layer.named_modules())

    def has(path: str) -> bool:
        return hasattr(modules.get(path), "weight")

    found = []
    for path, module in modules.items():
        for spelling in SPELLINGS:
            q, k, v = (getattr(module, name, None) for name in spelling)
            if isinstance(q, nn.Linear) and isinstance(k, nn.Linear) and isinstance(v, nn.Linear):
                outputs = [getattr(module, name, None) for name in OUTPUTS]
                outputs.append(modules.get(f"{path.rpartition('.')[0]}.{OUTPUT_BLOCK}"))
                o = next((output for output in outputs if isinstance(output, nn.Linear)), None)
                others = {part: modules[inner] for part, inner in beside(path, has).items()}
                found.append((path, AttentionBlock(number, module, q, k, v, o, others)))
    return found


def _checked(blocks: list[AttentionBlock], name: str) -> list[AttentionBlock]:
    """Return the blocks; MergeError if a projection is not square."""
    for block in blocks:
        for part, linear in block.attention.items():
            shape = tuple(linear.weight.shape)
            if shape != (block.width, block.width):
                raise MergeError(f"{name}: layer {block.layer}, {part}: {shape} is not square.")
    return blocks
