"""Statistics of activations, for methods and alignments that need more than weights."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Sums = list[dict[str, Tensor]]  # one mapping per layer, by part


@dataclass(frozen=True)
class Moments:
    """The mean of x xᵀ over each projection's inputs, ``[d, d]``, fp64."""

    target: Sums
    source: Sums


class Activations(Protocol):
    """Statistics of the unmerged target and the source; each is computed once."""

    @property
    def key(self) -> Hashable:
        """A value that is equal for equal recordings."""

    def partners(self) -> Mapping[int, int]:
        """Return the source layer that is most similar to each target layer on common inputs.

        Raises:
            UnfitError: The source takes inputs that no recording corresponds to.
            DataError: The recordings are missing or unusable.
        """

    def second_moments(self) -> Sums:
        """Return the mean of [x 1]ᵀ [x 1] over the target's inputs x, ``[d + 1, d + 1]``, fp64.

        Raises:
            DataError: The recordings are missing or unusable.
        """

    def moments(self) -> Moments:
        """Return the moments of both models, each on inputs of its own modality.

        Raises:
            DataError: The inputs are missing or unusable.
            CheckpointError: The source cannot be loaded.
        """

    def cross(self, pairs: Mapping[int, int], is_own: bool) -> Mapping[int, Tensor]:
        """Return the mean of x_t x_sᵀ over common inputs, ``[d_t, d_s]``, fp64, for each target layer in ``pairs``.

        Args:
            pairs: Target layer -> source layer.
            is_own: Whether the source is the target itself.

        Raises:
            UnfitError: The two models take different inputs.
        """
