"""What several runs share: the loaded pair, the decoded audio, the prefix, the baseline. Each is made once.

One of each kind is kept, the last (of data: the last of each split): a sweep over λ finds everything ready, a study
over models frees what it leaves.
"""

from __future__ import annotations

import base64
import json
import platform
import time
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers

from mam import __version__, processes
from mam.config import Config, ModelConfig, ShapeConfig
from mam.data.audio import RATE
from mam.data.corpus import Corpus, open_corpus
from mam.data.store import AudioStore
from mam.errors import CheckpointError, MamError
from mam.evaluation.attention import Attention, Change, measure
from mam.evaluation.predict import packs_of, predict
from mam.evaluation.prefix import Prefix
from mam.files import cache_folder, free_memory, locked, sha256_json, write_json
from mam.merge.apply import Merger
from mam.models.checkpoints import Checkpoint, locate
from mam.models.sources import Source
from mam.models.targets import Target, family_of, load_target
from mam.tasks import TASKS
from mam.terminal import Terminal

T = TypeVar("T")


@dataclass
class Pair:
    """A loaded target, its merger and the source's depth; ``loading`` is what that took, in seconds."""

    target: Target
    source: Source
    merger: Merger
    loading: float


@dataclass(frozen=True)
class Predictions:
    """What was read off a target, in the order of the corpus: raw texts, or vectors of features or scores (fp32).

    ``seconds`` is what the layers from the first merged one on and decoding took; ``prefix`` what went before, which
    the first of several runs pays for all.
    """

    items: list[Any]
    seconds: float
    prefix: float


class Workbench:
    """Made once for a plan of runs; every method returns what it made before as long as its input is the same."""

    def __init__(self, terminal: Terminal | None = None) -> None:
        self.terminal = terminal or Terminal(quiet=True)
        self._made: dict[str, tuple[Hashable, object]] = {}

    def _once(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        if kind not in self._made or self._made[kind][0] != key:
            # Free the old one before the new one is made, and the states that were computed with it.
            made, _, split = kind.partition(" ")
            made_with_it = {"pair": "prefix", "audio": f"prefix {split}"}.get(made)
            for other in [name for name in self._made if made_with_it and name.startswith(made_with_it)]:
                self._made.pop(other)
            self._made.pop(kind, None)
            self._made[kind] = (key, make())
        return self._made[kind][1]  # type: ignore[return-value]

    def corpus(self, config: Config) -> Corpus:
        """The examples of the configured split, by metadata. Raises DataError."""
        key = sha256_json([asdict(config.data), config.model.task])
        return self._once(f"corpus {config.data.split}", key, lambda: open_corpus(config.data, config.model.task))

    def checkpoints(self, config: ModelConfig) -> tuple[Checkpoint, Checkpoint]:
        """Target and source, located and present. Raises CheckpointError."""

        def find() -> tuple[Checkpoint, Checkpoint]:
            target = locate(config.target, config.target_revision, config.target_sha256)
            return target, locate(config.source, config.source_revision, config.source_sha256)

        return self._once("checkpoints", sha256_json(asdict(config)), find)

    def audio(self, config: Config) -> AudioStore:
        """Every recording decoded and checked. Raises DataError."""
        corpus, (checkpoint, _) = self.corpus(config), self.checkpoints(config.model)
        readout = TASKS[config.model.task].readout(config)
        limits = family_of(checkpoint, readout).limits(checkpoint, readout)

        def check() -> AudioStore:
            with self.terminal.progress("reading audio", len(corpus)) as advance:
                budget = int(config.evaluate.memory_gb * 1e9)
                return AudioStore.checked(corpus, RATE, budget, config.data.on_bad, lambda: advance(1, 0.0), limits)

        # Name and split too: equal content under another name is another corpus in the record.
        corpus_key = (corpus.name, corpus.split, corpus.rule, str(corpus.root), corpus.sha256)
        made_from = (*corpus_key, config.data.on_bad, config.evaluate.memory_gb, limits)
        return self._once(f"audio {config.data.split}", made_from, check)

    def pair(self, config: Config) -> Pair:
        """Target on its device, source opened, both of the shape that the configuration states.

        Raises:
            CheckpointError: unusable, or of another shape than stated.
        """
        target_checkpoint, source_checkpoint = self.checkpoints(config.model)
        device = device_of(config)
        dtype, readout = getattr(torch, config.dtype), TASKS[config.model.task].readout(config)

        def load() -> Pair:
            start = time.perf_counter()
            _refuse_too_large(target_checkpoint)
            with self.terminal.status("loading models"):
                source = Source(source_checkpoint)
                _check_shape("source", config.model.source_shape, source_checkpoint.id, source)
                target = load_target(target_checkpoint, readout)
                _check_shape("target", config.model.target_shape, target_checkpoint.id, target)
                merger = Merger(target.blocks, source.read)
                target.to(device, dtype)
            return Pair(target, source, merger, time.perf_counter() - start)

        key = (target_checkpoint.fingerprint, source_checkpoint.fingerprint, str(device), config.dtype, readout)
        shape = sha256_json([asdict(config.model.target_shape), asdict(config.model.source_shape)])
        return self._once("pair", (key, shape), load)

    def prefix(self, config: Config) -> Prefix:
        """The states before the first merged layer, for this pair and this audio."""
        pair, audio = self.pair(config), self.audio(config)
        budget = int(config.evaluate.memory_gb * 1e9)
        return self._once(
            f"prefix {config.data.split}", self._inputs(config), lambda: Prefix(pair.target, audio, budget)
        )

    def free_states(self) -> None:
        """Forget what prefixes keep: a training needs the memory."""
        for kind in [kind for kind in self._made if kind.startswith("prefix")]:
            self._made.pop(kind)

    def _inputs(self, config: Config) -> Hashable:
        """What the pair and the audio that are ready were made from."""
        return self._made["pair"][0], self._made[f"audio {config.data.split}"][0]

    def predict(self, config: Config, first: int, label: str) -> Predictions:
        """Read off the target as it is now; its layers below ``first`` must be unmerged."""
        target, audio = self.pair(config).target, self.audio(config)
        packs = packs_of(target, audio.samples, config.evaluate.batch_seconds)
        prefix = self.prefix(config)
        start, earlier = time.perf_counter(), prefix.seconds
        try:
            with self.terminal.progress(label, len(audio.samples)) as advance:
                items = predict(target, prefix, packs, audio.samples, first, advance)
        except torch.OutOfMemoryError as error:
            raise MamError(
                f"evaluate.batch_seconds={config.evaluate.batch_seconds:g}: {target.device} has not enough memory."
                " Halve it, or lower evaluate.memory_gb or say dtype=bfloat16."
            ) from error
        spent = prefix.seconds - earlier
        return Predictions(items, time.perf_counter() - start - spent, spent)

    def attention(self, config: Config, layers: list[int], trained: Target | None = None) -> Change:
        """What the merge that is in the target now, or training, does to attention; the other side is measured once."""
        pair, audio = self.pair(config), self.audio(config)
        after = measure(trained or pair.target, audio)

        def unmerged() -> Attention:
            pair.merger.restore()
            return measure(pair.target, audio)

        return Change(self._once("attention", self._inputs(config), unmerged), after, layers)

    def baseline(self, config: Config, first: int) -> Predictions:
        """The unmerged target's predictions, from the cache where they are, else computed and put there.

        Jobs that share a cache folder take turns: one computes, the others read. A cache entry that cannot be read is
        computed again. The processes of one job compute together.
        """
        pair, audio = self.pair(config), self.audio(config)
        key = {
            "target": pair.target.checkpoint.fingerprint,
            "data": audio.corpus.sha256,
            "readout": pair.target.readout,
            "batch_seconds": config.evaluate.batch_seconds,
            "environment": environment(config),
        }
        path = cache_folder(config.cache_dir) / "baselines" / f"{sha256_json(key)}.json"
        with locked(path) if processes.is_main() else nullcontext():
            kept = processes.from_main(_kept_baseline(path, key) if processes.is_main() else None)
            if kept is not None:
                return Predictions(_unpacked(kept["items"]), kept["seconds"], 0.0)
            pair.merger.restore()
            made = self.predict(config, first, "baseline")
            content = {"items": _packed(made.items), "seconds": made.seconds}
            if processes.is_main():
                write_json(path, {"sha256": sha256_json([key, *content.values()]), "key": key, **content})
        return made


def _packed(items: list[Any]) -> Any:
    """Items as JSON: texts as they are, vectors as the base64 of their fp32 matrix ``[n, d]``, bit for bit."""
    if isinstance(items[0], str):
        return items
    matrix = np.stack(items).astype("<f4")
    return {"shape": list(matrix.shape), "fp32": base64.b64encode(matrix.tobytes()).decode()}


def _unpacked(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    values = np.frombuffer(base64.b64decode(content["fp32"]), dtype="<f4")
    return list(values.reshape(content["shape"]))


def checked_source_and_target(config: ModelConfig) -> tuple[Checkpoint, Source]:
    """Both sides as files, each of the shape that the configuration states; no model is loaded.

    Raises:
        CheckpointError, MergeError: unusable, of another shape, or a target that mam does not know.
    """
    target = locate(config.target, config.target_revision, config.target_sha256)
    family_of(target, "text" if config.task == "asr" else "features")
    source = Source(locate(config.source, config.source_revision, config.source_sha256))
    _check_shape("target", config.target_shape, target.id, Source(target))
    _check_shape("source", config.source_shape, source.checkpoint.id, source)
    return target, source


def _kept_baseline(path: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """A baseline in the cache, None where it is not there or damaged."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        is_whole = kept["sha256"] == sha256_json([key, kept["items"], kept["seconds"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return kept if is_whole else None


def device_of(config: Config) -> torch.device:
    """The device asked for. Raises MamError where it is not there or does not know the dtype."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    if name == "cuda" and not torch.cuda.is_available():
        raise MamError("device=cuda: torch sees no GPU here. Say device=cpu, or install a CUDA build of torch.")
    if name == "cpu" and config.dtype == "float16":
        raise MamError("dtype=float16: not usable on a CPU. Say dtype=float32 or dtype=bfloat16.")
    return torch.device(name, processes.local_rank()) if name == "cuda" else torch.device(name)


def environment(config: Config) -> dict[str, str | int]:
    """Versions, device, dtype and threads: on these the bits of a prediction depend."""
    device = device_of(config)
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
        "mam": __version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": config.dtype,
        "threads": torch.get_num_threads(),
    }


def _refuse_too_large(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError where a model would not fit into the memory that is free now."""
    needed = checkpoint.parameters * torch.float32.itemsize
    free = free_memory()
    if free is not None and needed > free:
        raise CheckpointError(
            f"model.target={checkpoint.id}: needs {needed / 1e9:.1f} GB in fp32, {free / 1e9:.1f} GB are free here."
            " Take a smaller one or a larger machine."
        )


def _check_shape(side: str, stated: ShapeConfig, name: str, found: Target | Source) -> None:
    actual = {
        "layers": found.depth if isinstance(found, Target) else found.layers,
        "width": found.width,
        "heads": found.heads,
    }
    wrong = [
        f"{key} {value}, not {getattr(stated, key)}" for key, value in actual.items() if value != getattr(stated, key)
    ]
    if wrong:
        words = " ".join(f"model.{side}_shape.{key}={value}" for key, value in actual.items())
        raise CheckpointError(
            f"model.{side}={name}: has {'; '.join(wrong)} as configured. If it is the right one, say {words}"
        )
