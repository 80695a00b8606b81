"""Resources shared by runs, each made once: the loaded pair, the decoded audio, the prefix, the baseline.

Only the last of each kind is kept (for data: the last of each split). A sweep over λ reuses everything; a study over
models frees what it no longer needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import soundfile
import soxr

from mam import processes
from mam.config.schema import Config, code_identity
from mam.data.audio import RATE, Wave
from mam.data.store import AudioStore, checked_once
from mam.evaluation.activations import MeasuredActivations
from mam.evaluation.attention_statistics import AttentionChange, AttentionStatistics, measure
from mam.evaluation.calibration import recordings
from mam.evaluation.calibration_files import TRAIN, train_config
from mam.evaluation.devices import device_of, environment
from mam.evaluation.inputs import Inputs
from mam.evaluation.items import items_from_json, items_to_json
from mam.evaluation.model_pair import ModelPair, kept_parts, load_pair, refuse_too_long
from mam.evaluation.predict import packs_of, predict, remedy_of
from mam.evaluation.prefix import Prefix, Shelf
from mam.evaluation.slots import Slot
from mam.files import sha256_json
from mam.identity import RELEASE, code_sha256
from mam.memory import explained
from mam.models.families import family_of
from mam.models.targets import Target
from mam.records.result import plain
from mam.tasks import TASKS

DECODERS = [RELEASE, soundfile.__version__, soundfile.__libsndfile_version__, soxr.__version__]
T = TypeVar("T")


@dataclass(frozen=True)
class Readings:
    """Readings of a target in the order of the corpus: raw texts, or vectors of features or scores (fp32).

    ``seconds`` is the time for decoding and the layers from the first merged one on, ``prefix`` for everything before.
    Several runs share the prefix, and its time counts for the first of them.
    """

    items: list[Any]
    seconds: float
    prefix: float


class Workbench(Inputs):
    """Shared resources for a plan of runs. Every method returns its last result as long as its inputs are the same."""

    @classmethod
    def of(cls, inputs: Inputs) -> Workbench:
        """Return the workbench that shares its resources with these inputs and others of them."""
        bench = cls(inputs.terminal)
        bench._slots = inputs._slots
        return bench

    def audio(self, config: Config) -> AudioStore:
        """Return all recordings, decoded and checked. Raises DataError."""
        corpus, checkpoint = self.corpus(config), self.parents(config).target
        readout = TASKS[config.model.task].readout(config)
        limits = family_of(checkpoint, readout).limits(checkpoint, readout)

        def check() -> AudioStore:
            with self.terminal.progress("reading audio", len(corpus)) as advance:
                budget = int(config.evaluate.memory_gb * 1e9)
                return AudioStore.checked(corpus, RATE, budget, config.data.on_bad, lambda: advance(1, 0.0), limits)

        def check_once() -> AudioStore:
            if not config.evaluate.share:
                return check()
            key = {"data": corpus.sha256, "rate": RATE, "limits": limits, "on_bad": config.data.on_bad}
            key |= {"by": [*DECODERS, code_sha256()]}
            return checked_once(self.cache(config), key, corpus, check)

        # Name and split count too: the record names them even if the content is equal.
        corpus_key = (corpus.name, corpus.split, corpus.rule, str(corpus.root), corpus.sha256)
        made_from = (*corpus_key, config.data.on_bad, config.evaluate.memory_gb, limits)
        store = self._slots.once(Slot("audio", config.data.split), made_from, check_once)
        if device_of(config).type == "cpu":
            self._slots.once(
                Slot("lengths", config.data.split),
                (*made_from, checkpoint.fingerprint),
                lambda: refuse_too_long(store, family_of(checkpoint, readout), checkpoint),
            )
        return store

    def pair(self, config: Config) -> ModelPair:
        """Return both models, ready to be merged. Raises CheckpointError, see `load_pair`."""
        parents = self.parents(config)

        def load() -> ModelPair:
            with self.terminal.status("loading models"):
                return load_pair(config, parents)

        readout = TASKS[config.model.task].readout(config)
        made_from = (
            *(checkpoint.fingerprint for _, checkpoint in parents.named),
            str(device_of(config)),
            config.dtype,
            readout,
            config.where,
            kept_parts(config),
        )
        model = config.model
        shapes = sha256_json([asdict(one) for one in (model.target_shape, model.source_shape, *model.further_shapes)])
        pair = self._slots.once(Slot("pair"), (*made_from, config.compile, shapes), load)
        pair.merger.activations = self.activations(config)
        pair.target.instruct(config.model.language, config.model.speech_task)
        return pair

    def activations(self, config: Config) -> MeasuredActivations:
        """Return the activations of both models, measured on first use."""
        return MeasuredActivations(self, config)

    def once_for(self, name: str, config: Config, make: Callable[[], T]) -> T:
        """Return the result of ``make``, computed once for this pair and this audio."""
        self.pair(config), self.audio(config)
        return self._slots.once(Slot(name), self._inputs(config), make)

    def calibrated(self, config: Config, name: str, key: Hashable, measured: Callable[[ModelPair, list[Wave]], T]) -> T:
        """Return the result of ``measured`` for the unmerged pair and the calibration recordings.

        The last one of each ``name`` is kept, and returned again for the same ``key``.
        """
        pair, calibration = self.pair(config), config.calibration
        data = self.corpus(train_config(config)).sha256 if calibration.audio == TRAIN else None

        def measured_once() -> T:
            if calibration.audio == TRAIN:
                store = self.audio(train_config(config))
                waves = store.waves(range(len(store.samples)))
            else:
                waves = recordings(calibration.audio, "calibration.audio", calibration.limit)
            pair.merger.restore()
            with self.terminal.status("measuring activations"):
                return measured(pair, waves)

        made_from = self._slots.key(Slot("pair")), sha256_json(asdict(calibration)), key, data
        return self._slots.once(Slot("activations", name), made_from, measured_once)

    def prefix(self, config: Config) -> Prefix:
        """Return the states before the first merged layer, for this pair and this audio."""
        pair, audio = self.pair(config), self.audio(config)
        budget = int(config.evaluate.memory_gb * 1e9)
        shelf = Shelf(self.cache(config), self._identity(config), config.evaluate.share)

        def make() -> Prefix:
            return Prefix(pair.target, audio, budget, shelf=shelf)

        return self._slots.once(Slot("prefix", config.data.split), (self._inputs(config), config.evaluate.share), make)

    def _identity(self, config: Config) -> dict[str, Any]:
        """Return everything that the unmerged target's values on this audio depend on."""
        return {
            "target": self.pair(config).target.checkpoint.fingerprint,
            "data": self.audio(config).corpus.sha256,
            "readout": self.pair(config).target.readout,
            "environment": plain(environment(config)),
        } | code_identity(config)

    def free_states(self) -> None:
        """Free the states that prefixes keep, since a training needs the memory."""
        self._slots.free(lambda slot: slot.name == "prefix")

    def _inputs(self, config: Config) -> Hashable:
        """Return the keys of the current pair and audio."""
        return self._slots.key(Slot("pair")), self._slots.key(Slot("audio", config.data.split))

    def predict(self, config: Config, first: int, label: str, clips: Sequence[int] | None = None) -> Readings:
        """Read all clips or some off the target in its current state. Its layers below ``first`` must be unmerged."""
        target, audio = self.pair(config).target, self.audio(config)
        packs = packs_of(target, audio.samples, config.evaluate.batch_seconds, clips)
        prefix = self.prefix(config)
        start, earlier = time.perf_counter(), prefix.seconds
        with explained(remedy_of(config, target)), self.terminal.progress(label, sum(map(len, packs))) as advance:
            items = predict(target, prefix, packs, audio.samples, first, advance, say=self.terminal.say)
        prefix_seconds = prefix.seconds - earlier
        return Readings(items, time.perf_counter() - start - prefix_seconds, prefix_seconds)

    def attention(self, config: Config, layers: list[int], trained: Target | None = None) -> AttentionChange:
        """Return the change of attention by the current merge, or by training if ``trained`` is given.

        Call `unmerged_attention` before merging; otherwise it undoes the merge here.
        """
        before, audio = self.unmerged_attention(config), self.audio(config)
        if trained is not None:
            return AttentionChange(before, measure(trained, audio), layers)
        target, prefix = self.pair(config).target, self.prefix(config)
        if layers[0] >= target.depth:  # the encoder, whose attention is measured, is not merged
            return AttentionChange(before, before, layers)
        after = measure(target, audio, lambda clip: (layers[0], prefix.hidden((clip,), layers[0])), before)
        return AttentionChange(before, after, layers)

    def unmerged_attention(self, config: Config) -> AttentionStatistics:
        """Return the attention statistics of the unmerged target, measured once."""
        pair, audio = self.pair(config), self.audio(config)

        def measured() -> AttentionStatistics:
            pair.merger.restore()
            return measure(pair.target, audio, lambda clip: (0, self.prefix(config).hidden((clip,), 0)))

        return self._slots.once(Slot("attention"), self._inputs(config), measured)

    def baseline(self, config: Config, first: int) -> Readings:
        """Return the unmerged target's predictions from the cache, or compute and cache them.

        Jobs that share a cache folder take turns: one computes, the others read. An unreadable cache entry is computed
        again. The processes of one job compute together.
        """
        cache = self.cache(config)
        key = self._identity(config) | {"batch_seconds": config.evaluate.batch_seconds}
        if config.model.language is not None:
            key |= {"language": config.model.language, "speech_task": config.model.speech_task}
        path = cache.path("baselines", key, ".json")
        with cache.turn(path) if processes.is_main() else nullcontext():
            kept = processes.from_main(_usable(cache.json(path), key) if processes.is_main() else None)
            if kept is not None:
                return Readings(items_from_json(kept["items"]), kept["seconds"], 0.0)
            self.pair(config).merger.restore()
            readings = self.predict(config, first, "baseline")
            if processes.is_main():
                cache.keep_json(path, {"key": key, "items": items_to_json(readings.items), "seconds": readings.seconds})
        return readings


def _usable(kept: dict[str, Any] | None, key: dict[str, Any]) -> dict[str, Any] | None:
    return kept if kept is not None and kept.get("key") == key else None
