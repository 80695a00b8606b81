"""What does not depend on λ: everything before the first merged layer, computed once for each pack."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mam.data.store import AudioStore
from mam.models.targets import Hidden, Target


class Prefix:
    """Hidden states at the input of the first merged layer, kept in memory up to a budget.

    What does not fit is computed again. Kept or not, the packs are the same and so are the values, bit for bit.
    ``computed`` counts the packs that went through `Target.front`, ``seconds`` is the time it all took.
    """

    def __init__(self, target: Target, audio: AudioStore, budget_bytes: int) -> None:
        self._target, self._audio, self._budget = target, audio, budget_bytes
        self._kept: dict[tuple[tuple[int, ...], int], Hidden] = {}
        self._used = 0
        self.computed = 0
        self.seconds = 0.0

    def hidden(self, pack: Sequence[int], first: int) -> Hidden:
        """States of the clips ``pack`` at the input of layer ``first``. The layers below it must be unmerged."""
        key = (tuple(pack), first)
        if key not in self._kept:
            start = time.perf_counter()
            hidden = self._nearest(key)
            self.seconds += time.perf_counter() - start
            if self._used + hidden.nbytes > self._budget:
                return hidden
            self._used += hidden.nbytes
            self._kept[key] = hidden
        return self._kept[key]

    def _nearest(self, key: tuple[tuple[int, ...], int]) -> Hidden:
        """Start from the highest kept layer at or below the one wanted, else from the audio."""
        pack, first = key
        for layer in range(first, -1, -1):
            if (pack, layer) in self._kept:
                return self._target.advance(self._kept[pack, layer], layer, first)
        self.computed += 1
        return self._target.advance(self._target.front([self._audio.wave(i) for i in pack]), 0, first)
