"""Several sources in one merge: W = (1-Σλ_i) W_t + Σ λ_i S_i, which is λ = Σλ_i with S = Σ (λ_i/λ) S_i.

Methods, controls and alignments see one source each; what is mixed in is the mean of all, weighted by their shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mam.errors import MergeError
from mam.merging.shape import Shape

T = TypeVar("T")


@dataclass(frozen=True)
class Further:
    """One of several sources in a merge.

    Attributes:
        shape: Its shape, or the target's under ``control=self``.
        pairs: Its layer for each selected layer of the target, ascending.
        project: The conversion to the target's width, or None if the widths agree.
        seed: Seed of random controls.
    """

    shape: Shape
    pairs: dict[int, int]
    project: str | None
    seed: int


def by_role(target: T, sources: Sequence[T], base: T | None) -> dict[str, T]:
    """Return what belongs to each model of a merge by its role; the second source is ``source 2``."""
    roles = {"target": target}
    roles |= {f"source {number}" if number > 1 else "source": one for number, one in enumerate(sources, 1)}
    return roles if base is None else roles | {"base": base}


def shares_of(proportions: Sequence[float], sources: int) -> tuple[float, ...]:
    """Return the share of each source in λ; the shares add up to 1.

    Args:
        proportions: A number for each source, or none for equal shares.
        sources: The number of sources.

    Raises:
        MergeError: Their number is wrong, one is negative, or all are 0.
    """
    if not proportions:
        return (1 / sources,) * sources
    said = ",".join(f"{share:g}" for share in proportions)
    if len(proportions) != sources:
        there = "is 1" if sources == 1 else f"are {sources}"
        raise MergeError(
            f"shares=[{said}]: must be one number per source, and there {there}. Several sources are set with"
            " model.sources=[...]; lam=[...] sets shares too"
        )
    total = sum(proportions)
    if min(proportions) < 0 or not 0 < total < float("inf"):
        raise MergeError(f"shares=[{said}]: must be 0 or more, and not all 0")
    return tuple(share / total for share in proportions)


def within_one(lams_by_source: Sequence[float], layers: int) -> tuple[float, ...]:
    """Return λ of every source by layer, scaled down where those of a layer add up to more than 1.

    Args:
        lams_by_source: λ of every layer for the first source, then for the second, and so on.
        layers: The number of layers.
    """
    totals = [sum(lams_by_source[layer::layers]) for layer in range(layers)]
    return tuple(lam / max(1.0, totals[n % layers]) for n, lam in enumerate(lams_by_source))
