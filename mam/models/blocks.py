"""Where a backbone keeps Q, K and V: in modules (by walking them) and on disk (by the names of tensors).

Shapes: ``d`` is the width; a projection's weight is [d, d] as [out, in], its bias [d].
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from mam.errors import MergeError, choices

# What the three projections of one self-attention are called, across transformers; and what one that is all three.
SPELLINGS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("linear_q", "linear_k", "linear_v"),
    ("q", "k", "v"),
)
FUSED = ("Wqkv",)
# What the projection of their output is called beside them; BERT and ViT's files have it in a block of its own.
OUTPUTS = ("out_proj", "o_proj", "out_lin", "linear_out", "o", "Wo")
OUTPUT_BLOCK = "output.dense"
_ON_DISK = re.compile(r"(?P<stack>.+)\.(?P<layer>\d+)\.(?P<block>.+)\.(?P<name>\w+)\.weight")


@dataclass(frozen=True)
class AttentionBlock:
    """The projections of one layer, as modules of the model itself: writing to them changes the model.

    ``o`` is that of the output, None where there is none beside the three; ``owner`` the module that has them.
    """

    layer: int
    owner: nn.Module
    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    o: nn.Linear | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The projections that are there."""
        return ("q", "k", "v") if self.o is None else ("q", "k", "v", "o")

    def projection(self, part: str) -> nn.Linear:
        """``part`` is ``"q"``, ``"k"``, ``"v"`` or ``"o"``. Raises MergeError where there is no ``"o"``."""
        found = {"q": self.q, "k": self.k, "v": self.v, "o": self.o}[part]
        if found is None:
            raise MergeError("parts: o is not there; the target has no projection of its attention's output.")
        return found

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
        for part in block.parts:
            linear_shape = tuple(block.projection(part).weight.shape)
            if linear_shape != (block.width, block.width):
                raise MergeError(
                    f"{type(encoder).__name__}: layer {block.layer}, {part}: {linear_shape} is not square."
                )
    return blocks


def _triples(layer: nn.Module) -> list[tuple[nn.Module, nn.Linear, nn.Linear, nn.Linear, nn.Linear | None]]:
    found = []
    for module in layer.modules():
        for spelling in SPELLINGS:
            children = [getattr(module, name, None) for name in spelling]
            q, k, v = children
            if isinstance(q, nn.Linear) and isinstance(k, nn.Linear) and isinstance(v, nn.Linear):
                outputs = [getattr(module, name, None) for name in OUTPUTS]
                o = next((output for output in outputs if isinstance(output, nn.Linear)), None)
                found.append((module, q, k, v, o))
    return found


@dataclass(frozen=True)
class OnDisk:
    """Where a projection is in a file: the tensors ``name.weight`` and, if any, ``name.bias``.

    ``third`` is None for a tensor of its own, else which third of the rows of a fused Q, K, V tensor.
    """

    name: str
    third: int | None = None


def names_on_disk(tensor_names: Iterable[str], checkpoint_id: str, stack: str | None = None) -> list[dict[str, OnDisk]]:
    """For each layer: part -> where it is in the file; ``"o"`` only where it is there.

    Args:
        tensor_names: all names in the checkpoint.
        checkpoint_id: for messages.
        stack: a pattern that chooses between several stacks, e.g. the image tower of CLIP; matched against
            ``stack.N.block`` such as ``vision_model.encoder.layers.N.self_attn``.

    Raises:
        MergeError: no layers with Q, K and V, several stacks of them, or a layer that lacks one; names what was found.
    """
    part_of = {name: part for spelling in SPELLINGS for name, part in zip(spelling, "qkv", strict=True)}
    stacks: dict[str, dict[int, dict[str, OnDisk]]] = {}
    present = set(tensor_names)
    for name in sorted(present):
        match = _ON_DISK.fullmatch(name)
        if not match or (match["name"] not in part_of and match["name"] not in FUSED):
            continue
        layers = stacks.setdefault(f"{match['stack']}.N.{match['block']}", {})
        layer, base = layers.setdefault(int(match["layer"]), {}), name.removesuffix(".weight")
        if match["name"] in FUSED:
            layer.update({part: OnDisk(base, third) for third, part in enumerate("qkv")})
        else:
            layer[part_of[match["name"]]] = OnDisk(base)
    chosen = {name: layers for name, layers in stacks.items() if stack is None or re.search(stack, name)}
    if len(chosen) != 1:
        raise MergeError(
            f"{checkpoint_id}: expected one stack of Q, K, V tensors, found {len(chosen)}: {choices(list(stacks))}."
        )
    ((name, layers),) = chosen.items()
    for number in range(max(layers) + 1):
        lacking = [part for part in "qkv" if part not in layers.get(number, {})]
        if lacking:
            place = name.replace(".N.", f".{number}.")
            raise MergeError(f"{checkpoint_id}: {place} lacks {', '.join(lacking)}. Is the file complete?")
        block = name.replace(".N.", f".{number}.")
        outputs = [*(f"{block}.{output}" for output in OUTPUTS), f"{block.rpartition('.')[0]}.{OUTPUT_BLOCK}"]
        for output in outputs:
            if f"{output}.weight" in present:
                layers[number].setdefault("o", OnDisk(output))
    return [layers[number] for number in range(len(layers))]
