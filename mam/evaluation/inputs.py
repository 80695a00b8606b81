"""Inputs of a run, located once each and without loading a model: checkpoints, metadata and the cache.

Nothing here imports torch, transformers or datasets, so that a finished run is found at once.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from mam.cache import Cache, cache_folder
from mam.config.merging import reads_base
from mam.config.schema import Config, read_from
from mam.data.corpus import Corpus, open_corpus
from mam.errors import DataError
from mam.evaluation.slots import Slot, Slots
from mam.files import sha256_json
from mam.models.locate import locate
from mam.models.parents import Parents
from mam.terminal import Terminal


def located(config: Config) -> Parents:
    """Return the checkpoints of a merge: target, source or sources, and the base if the method reads one.

    Raises:
        CheckpointError: One does not exist, or is another than its SHA-256 says.
    """
    model = config.model
    target = locate(model.target, model.target_revision, model.target_sha256)
    source = locate(model.source, model.source_revision, model.source_sha256)
    has_base = model.base is not None and reads_base(config)
    base = locate(str(model.base), model.base_revision, model.base_sha256) if has_base else None
    return Parents(target, source, base, tuple(map(locate, model.further)))


class Inputs:
    """The files that runs read. Every method returns its last result as long as its inputs are the same."""

    def __init__(self, terminal: Terminal | None = None) -> None:
        self.terminal = terminal or Terminal(quiet=True)
        self._slots = Slots()

    def corpus(self, config: Config) -> Corpus:
        """Return the metadata of the configured split's examples. Raises DataError."""

        def read() -> Corpus:
            is_fetched = config.data.source == "hub"
            with self.terminal.status(f"reading {config.data.hub.id}") if is_fetched else nullcontext():
                return open_corpus(config.data, config.model.task)

        key = sha256_json([read_from(config.data), config.model.task])
        return self._slots.once(Slot("corpus", config.data.split), key, read)

    def parents(self, config: Config) -> Parents:
        """Return the located checkpoints of a merge. Raises CheckpointError."""
        key = sha256_json([read_from(config.model), reads_base(config)])
        return self._slots.once(Slot("checkpoints"), key, lambda: located(config))

    def cache(self, config: Config) -> Cache:
        """Return the cache folder."""
        folder, limit = cache_folder(config.cache_dir), int(config.evaluate.cache_gb * 1e9)
        return self._slots.once(Slot("cache"), (folder, limit), lambda: Cache(folder, limit, self.terminal.say))

    def dev_sha256(self, config: Config) -> str | None:
        """Return the hash of the current dev split, or None if there is none."""
        try:
            return self.corpus(replace(config, data=replace(config.data, split="dev"))).sha256
        except DataError:
            return None
