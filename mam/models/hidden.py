"""Hidden states of several clips inside a target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hidden:
    """The hidden states of a pack, ``[b, t, d]``, and the true number of frames of each clip, ``[b]``.

    ``lengths`` stay on the CPU, where they are read: a transfer from a GPU would wait for all its pending work.

    ``whole`` marks input that the encoder must process piece by piece while decoding (Whisper beyond 30 s). ``states``
    are then the log-mel features ``[1, mels, t]``, and no layer can be run ahead.
    """

    states: Tensor
    lengths: Tensor
    whole: bool = False

    @property
    def nbytes(self) -> int:
        """The size of the states in bytes."""
        return self.states.numel() * self.states.element_size()

    @property
    def real(self) -> Tensor:
        """The mask of real frames, ``[b, t]``; False at padding."""
        frames = torch.arange(self.states.shape[1], device=self.states.device)
        return frames < self.lengths.to(frames.device)[:, None]

    def mean(self, values: Tensor) -> Tensor:
        """Average ``values`` ``[b, t, c]`` over real frames, fp32 ``[b, c]``."""
        real = self.real[..., None]
        return values.float().masked_fill(~real, 0).sum(1) / real.sum(1)

    @property
    def is_padded(self) -> bool:
        """True if any clip is shorter than its pack."""
        return int(self.lengths.min()) < self.states.shape[1]
