"""The selection of target layers, of their projections and of heads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mam.errors import MergeError

# Each letter of ``parts`` with the tensors that it names: the projections of attention, both linear layers of the
# feed-forward block, and the norms of attention and of that block.
PARTS = {"q": ("q",), "k": ("k",), "v": ("v",), "o": ("o",), "f": ("f1", "f2"), "n": ("n1", "n2")}
ATTENTION = frozenset("qkvo")
_NAMED = re.compile(r"(top|bottom|middle)(\d{1,6})")
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_HEADS = re.compile(r"all|\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*")
_FORMS = "all, odd, even, topN, bottomN, middleN, or indices such as 0-5,9"


def parse_layers(spec: str, depth: int) -> list[int]:
    """Return layer numbers, ascending, counted from 0 at the input; ``odd`` is 1, 3, 5, ..., ``middle`` is centred.

    Raises:
        MergeError: ``spec`` is not a selection, or names a layer that the target does not have.
    """
    named = _NAMED.fullmatch(spec)
    if spec == "all":
        return list(range(depth))
    if spec in ("odd", "even"):
        if spec == "odd" and depth == 1:
            raise MergeError("layers.spec=odd: the target has only layer 0. Set layers=all")
        return list(range(spec == "odd", depth, 2))
    if named:
        count = int(named[2])
        if not 1 <= count <= depth:
            raise MergeError(
                f"layers.spec={spec}: the target has {depth} layers, so the number must be from 1 to {depth}"
            )
        first = {"top": depth - count, "bottom": 0, "middle": (depth - count) // 2}[named[1]]
        return list(range(first, first + count))
    layers: set[int] = set()
    for piece in spec.split(","):
        match = _RANGE.fullmatch(piece.strip())
        if not match:
            raise MergeError(f"layers.spec={spec}: {piece.strip()!r} is not a selection of layers. Use {_FORMS}")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise MergeError(f"layers.spec={spec}: the range {piece.strip()} is reversed")
        layers.update(range(first, last + 1))
    if max(layers) >= depth:
        raise MergeError(f"layers.spec={spec}: there is no layer {max(layers)}; the target has layers 0 to {depth - 1}")
    return sorted(layers)


def is_selection(spec: str) -> bool:
    """Return whether ``spec`` is a selection of layers, for targets of any depth."""
    return spec in ("all", "odd", "even") or bool(_NAMED.fullmatch(spec)) or bool(_RANGE.fullmatch(spec.strip()))


def parse_parts(parts: str) -> tuple[str, ...]:
    """Split ``"qkvf"`` into ``("q", "k", "v", "f1", "f2")``, always in this order.

    Raises:
        MergeError: ``parts`` is empty, repeats a letter, or has a letter other than q, k, v, o, f, n.
    """
    if not parts or set(parts) - set(PARTS) or len(set(parts)) < len(parts):
        raise MergeError(
            f"parts={parts}: must be a string of q, k, v, o (attention), f (feed-forward layers) and"
            " n (norms), each at most once"
        )
    return tuple(part for letter, named in PARTS.items() if letter in parts for part in named)


def letters_of(parts: Iterable[str]) -> str:
    """Return the letters of ``parts``; the reverse of `parse_parts`."""
    return "".join(dict.fromkeys(part[0] for part in parts))


def parse_heads(spec: str, heads: int) -> tuple[int, ...] | None:
    """Return the numbers of attention heads, ascending from 0, or None for ``all``.

    Raises:
        MergeError: ``spec`` is not numbers and ranges such as 0-3,5, or names a head that the target does not have.
    """
    if spec == "all":
        return None
    if not _HEADS.fullmatch(spec):
        raise MergeError(f"heads={spec}: must be all, or indices such as 0-3,5")
    try:
        return tuple(parse_layers(spec, heads))
    except MergeError as error:
        raise MergeError(
            str(error).replace("layers.spec", "heads").replace("layers", "heads").replace("layer", "head")
        ) from error
