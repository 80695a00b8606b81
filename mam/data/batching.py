"""Packs of examples that are computed together; clips of similar length share a pack because padding costs time."""

from __future__ import annotations

from collections.abc import Sequence


def pack(lengths: Sequence[float], budget: float) -> list[tuple[int, ...]]:
    """Group examples so that padded length (longest × count) stays within ``budget``; longest first.

    Examples are sorted by length and then by position, so the packing depends on the lengths alone. An example longer
    than the budget forms a pack of its own. The longest pack comes first so that running out of memory shows at once.

    Args:
        lengths: The length of each example, in seconds (or any unit).
        budget: The maximum padded length of a pack, in the same unit.

    Returns:
        Indices into ``lengths``; every index occurs exactly once.
    """
    packs: list[tuple[int, ...]] = []
    current: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if current and lengths[current[0]] * (len(current) + 1) > budget:
            packs.append(tuple(current))
            current = []
        current.append(i)
    return [*packs, tuple(current)] if current else packs
