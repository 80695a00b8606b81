"""The part that does not depend on λ: everything before the first merged layer, computed once per pack."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mam.cache import Cache
from mam.data.audio import Wave
from mam.data.store import AudioStore
from mam.models.hidden import Hidden
from mam.models.targets import Target

Key = tuple[tuple[int, ...], int]  # clips of a pack, and the layer whose input the states are
HEARD = -1  # in place of a layer: the output of the front-end


@dataclass(frozen=True)
class Shelf:
    """States on disk. ``key`` holds everything that they depend on besides the pack and the layer.

    With ``is_shared`` all states are stored, for other processes; otherwise only those that do not fit into memory.
    """

    cache: Cache
    key: Mapping[str, Any]
    is_shared: bool

    def path(self, key: Key) -> Path:
        """Return the file of one pack at one layer."""
        return self.cache.path("states", {**self.key, "pack": key[0], "layer": key[1]})

    def load(self, path: Path, target: Target) -> Hidden | None:
        """Return stored states, memory-mapped (on a GPU: copied there), or None."""
        entry = self.cache.tensors(path)
        if entry is None:
            return None
        tensors, notes = entry
        return Hidden(tensors["states"].to(target.device), tensors["lengths"], notes["whole"] == "yes")

    def keep(self, path: Path, hidden: Hidden) -> None:
        """Store states."""
        tensors = {"states": hidden.states, "lengths": hidden.lengths}
        self.cache.keep_tensors(path, tensors, {"whole": "yes" if hidden.whole else "no"})


class Prefix:
    """Hidden states at the input of the first merged layer, kept in memory up to a budget, beyond it on the shelf.

    States that fit in neither are computed again. The packs and values are the same in any case, bit for bit. For a
    target being trained (``is_trained``) only the output of its frozen front-end is kept.

    Attributes:
        computed: number of packs that went through `Target.front`.
        found: number of packs loaded from the shelf.
        seconds: total time for both.
    """

    def __init__(
        self,
        target: Target,
        audio: AudioStore,
        budget_bytes: int,
        is_trained: bool = False,
        shelf: Shelf | None = None,
    ) -> None:
        self._target, self._audio, self._budget = target, audio, budget_bytes
        self._is_trained, self._shelf = is_trained, shelf
        self._kept: dict[Key, Hidden] = {}
        self._used = 0
        self._decoding: dict[tuple[int, ...], Future[list[Wave]]] = {}
        self._pool = ThreadPoolExecutor(1)
        self.computed = self.found = 0
        self.seconds = 0.0
        self.too_large: set[tuple[int, ...]] = set()  # packs that did not fit into memory and are computed in halves

    def expect(self, pack: Sequence[int], first: int) -> None:
        """Start decoding the audio that `hidden` will need for a pack, while the caller computes another one."""
        pack = tuple(pack)
        is_kept = any((pack, layer) in self._kept for layer in range(HEARD, first + 1)) or pack in self.too_large
        if not is_kept and not self._audio.is_decoded(pack) and not self._is_shelved((pack, first)):
            self._decoding[pack] = self._pool.submit(self._audio.waves, pack)

    def hidden(self, pack: Sequence[int], first: int) -> Hidden:
        """Return states of the clips ``pack`` at the input of layer ``first``. The layers below it must be unmerged."""
        if self._is_trained:
            states = self._keeping((tuple(pack), HEARD), self._heard)
            return self._target.advance(self._target.embed(states), 0, first)
        return self._keeping((tuple(pack), first), self._nearest)

    def _keeping(self, key: Key, make: Callable[[Key], Hidden]) -> Hidden:
        if key not in self._kept:
            start = time.perf_counter()
            hidden = make(key) if self._shelf is None else self._from_shelf(self._shelf, key, make)
            self._decoding.pop(key[0], None)
            self.seconds += time.perf_counter() - start
            if self._used + hidden.nbytes > self._budget:
                return hidden
            self._used += hidden.nbytes
            self._kept[key] = hidden
        return self._kept[key]

    def _from_shelf(self, shelf: Shelf, key: Key, make: Callable[[Key], Hidden]) -> Hidden:
        """Return states from the shelf, or compute them and store them where needed."""
        path = shelf.path(key)
        hidden = shelf.load(path, self._target)
        if hidden is None and shelf.is_shared:
            with shelf.cache.turn(path):  # only one of several processes computes
                hidden = shelf.load(path, self._target)
                if hidden is None:
                    hidden = make(key)
                    shelf.keep(path, hidden)
                    return hidden
        if hidden is not None:
            self.found += 1
            return hidden
        hidden = make(key)
        if self._used + hidden.nbytes > self._budget:
            shelf.keep(path, hidden)
        return hidden

    def _is_shelved(self, key: Key) -> bool:
        return self._shelf is not None and self._shelf.path(key).is_file()

    def _heard(self, key: Key) -> Hidden:
        self.computed += 1
        decoding = self._decoding.pop(key[0], None)
        return self._target.listen(self._audio.waves(key[0]) if decoding is None else decoding.result())

    def _nearest(self, key: Key) -> Hidden:
        """Compute from the highest kept layer at or below the one wanted, or from the audio."""
        pack, first = key
        for layer in range(first, -1, -1):
            if (pack, layer) in self._kept:
                return self._target.advance(self._kept[pack, layer], layer, first)
            lower = self._shelf.load(self._shelf.path((pack, layer)), self._target) if self._shelf else None
            if lower is not None:
                return self._target.advance(lower, layer, first)
        return self._target.advance(self._target.embed(self._heard(key)), 0, first)
