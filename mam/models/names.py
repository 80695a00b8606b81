"""The location of Q, K and V, and of the tensors beside them, found by the names of modules or of a file's tensors.

Shapes: ``d`` is the width; a projection's weight is [d, d] as [out, in], its bias [d].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

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
# Paths within a layer of both linear layers of its feed-forward block, and of the norms of attention and of that block.
FEED_FORWARD = (
    ("fc1", "fc2"),
    ("mlp.fc1", "mlp.fc2"),
    ("feed_forward.intermediate_dense", "feed_forward.output_dense"),
    ("intermediate.dense", "output.dense"),
    ("ffn.lin1", "ffn.lin2"),
)
NORMS = (
    ("self_attn_layer_norm", "final_layer_norm"),
    ("layer_norm", "final_layer_norm"),
    ("attention.output.LayerNorm", "output.LayerNorm"),
    ("layernorm_before", "layernorm_after"),
    ("sa_layer_norm", "output_layer_norm"),
    ("layer_norm1", "layer_norm2"),
    ("norm1", "norm2"),
)
CROSS = re.compile(r"encoder_attn|crossattention|EncDecAttention")  # in the path of a decoder's cross-attention
_ON_DISK = re.compile(r"(?P<stack>.+)\.(?P<layer>\d+)\.(?P<block>.+)\.(?P<name>\w+)\.weight")


@dataclass(frozen=True)
class OnDisk:
    """The location of a projection in a file: the tensors ``name.weight`` and, if present, ``name.bias``.

    ``third`` is the index of the projection's rows in a fused Q, K, V tensor, or None for a separate tensor.
    """

    name: str
    third: int | None = None


def beside(block: str, has: Callable[[str], bool]) -> dict[str, str]:
    """Return the paths of what stands beside the attention ``block`` of a layer that ``has`` a path, by part.

    Cross-attention has a norm only; the feed-forward block of its layer belongs to the decoder's self-attention. A
    layer with two such blocks, as a Conformer's, has none that corresponds to another model's.
    """
    if CROSS.search(block):
        norm = f"{block}_layer_norm"
        return {"n1": norm} if has(norm) else {}
    found: dict[str, str] = {}
    for parts, spellings in ((("f1", "f2"), FEED_FORWARD), (("n1", "n2"), NORMS)):
        both = next((both for both in spellings if all(map(has, both))), None)
        if both is None:
            break
        found |= dict(zip(parts, both, strict=True))
    return found


def missing_part(part: str, owner: str) -> str:
    """Return a sentence about a part that ``owner`` does not have."""
    what = {
        "o": "no output projection after its attention",
        "f": "no single feed-forward block of two linear layers next to its attention",
        "n": "no norms for its attention and for a single feed-forward block",
    }[part[0]]
    return f"parts: {part[0]} cannot be merged, since {owner} has {what}. Leave {part[0]} out."


def names_on_disk(tensor_names: Iterable[str], checkpoint_id: str, stack: str | None = None) -> list[dict[str, OnDisk]]:
    """Map each part to its location in the file, for every layer; other parts than Q, K and V only if they exist.

    Args:
        tensor_names: All names in the checkpoint.
        checkpoint_id: The checkpoint's name in messages.
        stack: A pattern that selects one of several stacks, e.g. the image tower of CLIP. It is matched against
            ``stack.N.block`` such as ``vision_model.encoder.layers.N.self_attn``.

    Raises:
        MergeError: There are no layers with Q, K and V, there are several stacks of them, or a layer lacks one; the
            message names what was found.
    """
    present = set(tensor_names)
    stacks = _stacks(present)
    chosen = [name for name in stacks if stack is None or re.search(stack, name)]
    if len(chosen) != 1:
        raise MergeError(
            f"{checkpoint_id}: expected one stack of Q, K, V tensors, found {len(chosen)}: {choices(list(stacks))}."
        )
    return _completed(present, checkpoint_id, chosen[0], stacks[chosen[0]])


def decoder_on_disk(tensor_names: Iterable[str], checkpoint_id: str) -> list[dict[str, OnDisk]]:
    """Map each part to its location for the self-attention, then the cross-attention of a decoder; empty without one.

    Raises:
        MergeError: A layer lacks Q, K or V.
    """
    present = set(tensor_names)
    stacks = _stacks(present)
    cross = next((name for name in stacks if CROSS.search(name)), None)
    if cross is None:
        return []
    layers = cross.partition(".N.")[0] + ".N."
    own = [name for name in stacks if name.startswith(layers) and name != cross]
    return [place for name in (*own, cross) for place in _completed(present, checkpoint_id, name, stacks[name])]


def _stacks(present: set[str]) -> dict[str, dict[int, dict[str, OnDisk]]]:
    """Return every stack of Q, K and V by name, ``stack.N.block``, with the parts of each layer."""
    part_of = {name: part for spelling in SPELLINGS for name, part in zip(spelling, "qkv", strict=True)}
    stacks: dict[str, dict[int, dict[str, OnDisk]]] = {}
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
    return stacks


def _completed(
    present: set[str], checkpoint_id: str, name: str, layers: dict[int, dict[str, OnDisk]]
) -> list[dict[str, OnDisk]]:
    """Return the layers of a stack in order, with parts beside Q, K and V; MergeError if one of those is missing."""
    prefix, _, attention = name.partition(".N.")
    for number in range(max(layers) + 1):
        path = f"{prefix}.{number}."
        block = path + attention
        lacking = [part for part in "qkv" if part not in layers.get(number, {})]
        if lacking:
            raise MergeError(f"{checkpoint_id}: {block} lacks {', '.join(lacking)}. Check that the file is complete.")
        outputs = [*(f"{block}.{output}" for output in OUTPUTS), f"{block.rpartition('.')[0]}.{OUTPUT_BLOCK}"]
        for output in outputs:
            if f"{output}.weight" in present:
                layers[number].setdefault("o", OnDisk(output))
        found = beside(attention, partial(_has_weight, present, path))
        layers[number].update({part: OnDisk(path + inner) for part, inner in found.items()})
    return [layers[number] for number in range(len(layers))]


def _has_weight(present: set[str], layer: str, path: str) -> bool:
    return f"{layer}{path}.weight" in present
