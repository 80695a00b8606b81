"""What does not depend on λ: everything before the first merged layer, computed once for each pack."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mam.data.store import AudioStore
from mam.models.targets import Hidden, Target

Key = tuple[tuple[int, ...], int]  # the clips of a pack, and at the input of which layer
HEARD = -1  # in place of a layer: what the front-end heard


class Prefix:
    """Hidden states at the input of the first merged layer, kept in memory up to a budget.

    What does not fit is computed again. Kept or not, the packs are the same and so are the values, bit for bit.
    ``computed`` counts the packs that went through `Target.front`, ``seconds`` is the time it all took. Of a target
    that is being trained (``is_trained``) only what its frozen front-end hears is kept.
    """

    def __init__(self, target: Target, audio: AudioStore, budget_bytes: int, is_trained: bool = False) -> None:
        self._target, self._audio, self._budget = target, audio, budget_bytes
        self._is_trained = is_trained
        self._kept: dict[Key, Hidden] = {}
        self._used = 0
        self.computed = 0
        self.seconds = 0.0

    def hidden(self, pack: Sequence[int], first: int) -> Hidden:
        """States of the clips ``pack`` at the input of layer ``first``. The layers below it must be unmerged."""
        if self._is_trained:
            heard = self._keeping((tuple(pack), HEARD), self._heard)
            return self._target.advance(self._target.embed(heard), 0, first)
        return self._keeping((tuple(pack), first), self._nearest)

    def _keeping(self, key: Key, make: Callable[[Key], Hidden]) -> Hidden:
        if key not in self._kept:
            start = time.perf_counter()
            hidden = make(key)
            self.seconds += time.perf_counter() - start
            if self._used + hidden.nbytes > self._budget:
                return hidden
            self._used += hidden.nbytes
            self._kept[key] = hidden
        return self._kept[key]

    def _heard(self, key: Key) -> Hidden:
        self.computed += 1
        return self._target.listen([self._audio.wave(i) for i in key[0]])

    def _nearest(self, key: Key) -> Hidden:
        """Start from the highest kept layer at or below the one wanted, else from the audio."""
        pack, first = key
        for layer in range(first, -1, -1):
            if (pack, layer) in self._kept:
                return self._target.advance(self._kept[pack, layer], layer, first)
        return self._target.advance(self._target.embed(self._heard(key)), 0, first)
