"""The audio of a corpus: decoded once, checked as a whole, and kept up to a memory budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mam.cache import Cache
from mam.data.audio import RATE, Wave
from mam.data.corpus import Corpus
from mam.errors import DataError, bullets


class AudioStore:
    """The decoded audio of one corpus at one rate, first checked as a whole and then kept up to a memory budget.

    Recordings beyond the budget are decoded again on access; the values are the same either way.
    """

    def __init__(self, corpus: Corpus, rate: int) -> None:
        self.corpus, self.rate = corpus, rate
        self._kept: dict[int, Wave] = {}
        self.samples: list[int] = []
        self.bad: list[tuple[int, str]] = []  # left out: position in the original corpus, and the reason

    @classmethod
    def checked(
        cls,
        corpus: Corpus,
        rate: int,
        budget_bytes: int,
        on_bad: str,
        step: Callable[[], None] = lambda: None,
        limits: tuple[int, int | None] = (0, None),
    ) -> AudioStore:
        """Decode every recording once, in threads; ``step`` is called after each.

        Args:
            corpus: The examples to decode.
            rate: Sample rate in Hz.
            budget_bytes: The most memory to spend on decoded audio.
            on_bad: ``"stop"`` or ``"skip"``.
            step: Called after each recording.
            limits: The minimum and maximum number of samples of a usable recording; None for no maximum.

        Raises:
            DataError: Metadata or recordings are unusable; all of them are listed. With ``on_bad="skip"`` such examples
                are left out and noted in the store's corpus, and only an empty rest is an error.
        """
        store = cls(corpus, rate)
        bad = []
        kept_bytes = 0
        samples: dict[int, int] = {}

        def decode(i: int) -> Wave | str:
            try:
                wave = corpus.wave(i, rate)
            except DataError as error:
                return str(error)
            least, most = limits
            if len(wave) < least or (most is not None and len(wave) > most):
                bounds = (
                    f"at least {least / rate:.3f} s" if len(wave) < least else f"at most {(most or 0) / rate:.3f} s"
                )
                place = corpus.root / corpus.examples[i]["audio"]
                return f"{place}: is {len(wave) / rate:.3f} s long; this target needs {bounds}"
            return wave

        waves: dict[int, Wave] = {}
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(corpus), 256):  # bounds the memory of pending recordings
                block = range(start, min(start + 256, len(corpus)))
                for i, wave in zip(block, pool.map(decode, block), strict=True):
                    step()
                    if isinstance(wave, str):
                        bad.append((i, wave))
                        continue
                    samples[i] = len(wave)
                    if kept_bytes + wave.nbytes <= budget_bytes:
                        kept_bytes += wave.nbytes
                        waves[i] = wave
        problems = [*corpus.problems, *(reason for _, reason in bad)]
        if problems and (on_bad == "stop" or len(bad) == len(corpus)):
            raise DataError(
                bullets(problems)
                + ("\nTo skip such examples, set data.on_bad=skip." if on_bad == "stop" else "\nNo examples are left.")
            )
        if bad:
            store.corpus, store.bad = corpus.without(bad), bad
        positions = sorted(samples)  # old positions of the examples that remain
        store.samples = [samples[i] for i in positions]
        store._kept = {new: waves[old] for new, old in enumerate(positions) if old in waves}
        return store

    def subset(self, positions: Sequence[int]) -> AudioStore:
        """Return the clips at these positions, in this order; audio in memory is shared."""
        store = AudioStore(self.corpus.only(positions), self.rate)
        store.samples = [self.samples[i] for i in positions]
        store._kept = {new: self._kept[old] for new, old in enumerate(positions) if old in self._kept}
        return store

    def wave(self, i: int) -> Wave:
        """Return example ``i`` of ``self.corpus``, float32 ``[samples]``."""
        kept = self._kept.get(i)
        return self.corpus.wave(i, self.rate) if kept is None else kept

    def waves(self, positions: Sequence[int]) -> list[Wave]:
        """Return several examples, in this order."""
        return [self.wave(i) for i in positions]

    def is_decoded(self, positions: Sequence[int]) -> bool:
        """Return whether all of these are in memory, so that `waves` decodes nothing."""
        return all(i in self._kept for i in positions)

    @property
    def seconds(self) -> list[float]:
        """The length of every example in seconds."""
        return [n / self.rate for n in self.samples]


def checked_once(cache: Cache, key: Mapping[str, Any], corpus: Corpus, check: Callable[[], AudioStore]) -> AudioStore:
    """Return the audio of ``corpus`` from the cache, or call ``check`` and store its result there.

    Only audio that fits in memory as a whole is cached. ``key`` contains everything that the result depends on.
    """
    path = cache.path("audio", key)
    with cache.turn(path):  # only one of several processes decodes
        entry = cache.tensors(path)
        if entry is not None:
            tensors, notes = entry
            return _unpacked(corpus, json.loads(notes["bad"]), tensors["samples"].tolist(), tensors["waves"].numpy())
        store = check()
        if store.is_decoded(range(len(store.samples))):
            import torch  # imported here: what is found in the cache, and metadata, are read without it

            waves = torch.from_numpy(np.concatenate(store.waves(range(len(store.samples)))))
            tensors = {"samples": torch.tensor(store.samples), "waves": waves}
            cache.keep_tensors(path, tensors, {"bad": json.dumps(store.bad)})
        return store


def _unpacked(corpus: Corpus, bad: list[tuple[int, str]], samples: list[int], waves: Wave) -> AudioStore:
    store = AudioStore(corpus.without(bad) if bad else corpus, RATE)
    store.samples, store.bad = samples, bad
    stops = np.cumsum(samples).tolist()
    store._kept = {i: waves[stop - count : stop] for i, (count, stop) in enumerate(zip(samples, stops, strict=True))}
    return store
