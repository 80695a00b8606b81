"""Which examples are computed together. Padding costs as much as speech, so clips of like length share a pack."""

from __future__ import annotations

from collections.abc import Sequence


def pack(lengths: Sequence[float], budget: float) -> list[tuple[int, ...]]:
    """Group examples so that padded length (longest x count) stays within ``budget``; longest first.

    Examples are sorted by length, ties by position, so the packing depends on the lengths alone. An example longer
    than the budget is a pack of its own. Longest first: running out of memory shows at once, not after an hour.

    Args:
        lengths: of each example, in seconds (or any unit).
        budget: the most padded length of a pack, in the same unit.

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
