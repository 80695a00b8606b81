"""The location of Q, K and V in a file, found by the names of its tensors.

Shapes: ``d`` is the width; a projection's weight is [d, d] as [out, in], its bias [d].
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mam.errors import MergeError, choices

# Names of the three projections of self-attention across transformers, and of a single projection for all three.
SPELLINGS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("linear_q", "linear_k", "linear_v"),
    ("q", "k", "v"),
)
FUSED = ("Wqkv",)
# Names of the output projection beside them; in BERT's and ViT's files it has a block of its own.
OUTPUTS = ("out_proj", "o_proj", "out_lin", "linear_out", "o", "Wo")
OUTPUT_BLOCK = "output.dense"
_ON_DISK = re.compile(r"(?P<stack>.+)\.(?P<layer>\d+)\.(?P<block>.+)\.(?P<name>\w+)\.weight")


@dataclass(frozen=True)
class OnDisk:
    """The location of a projection in a file: the tensors ``name.weight`` and, if present, ``name.bias``.

    ``third`` is the index of the projection's rows in a fused Q, K, V tensor, or None for a separate tensor.
    """

    name: str
    third: int | None = None


def names_on_disk(tensor_names: Iterable[str], checkpoint_id: str, stack: str | None = None) -> list[dict[str, OnDisk]]:
    """Map each part to its location in the file, for every layer; ``"o"`` only if it exists.

    Args:
        tensor_names: All names in the checkpoint.
        checkpoint_id: The checkpoint's name in messages.
        stack: A pattern that selects one of several stacks, e.g. the image tower of CLIP. It is matched against
            ``stack.N.block`` such as ``vision_model.encoder.layers.N.self_attn``.

    Raises:
        MergeError: There are no layers with Q, K and V, there are several stacks of them, or a layer lacks one; the
            message names what was found.
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
