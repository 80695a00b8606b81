"""What is measured on activations, for methods and alignments that need more than weights."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Sums = list[dict[str, Tensor]]  # for every layer a mapping by part


@dataclass(frozen=True)
class Moments:
    """The mean of x xᵀ over each projection's inputs, ``[d, d]``, fp64."""

    target: Sums
    source: Sums


class Activations(Protocol):
    """Measures on the unmerged target and the source; each result is made once."""

    @property
    def key(self) -> Hashable:
        """Equal where the same recordings are listened to."""

    def moments(self) -> Moments:
        """Of both, each on inputs of its own modality. Raises DataError, CheckpointError."""

    def cross(self, pairs: Mapping[int, int], is_own: bool) -> Mapping[int, Tensor]:
        """For each pair of layers, by the target's, the mean of x_t x_sᵀ over what both hear, ``[d_t, d_s]``, fp64.

        ``is_own``: the source is the target itself. Raises UnfitError where the two take different inputs.
        """
