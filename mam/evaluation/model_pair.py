"""The models of a run: found, checked, loaded, and ready to be merged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch

from mam.config.model import ModelConfig, ShapeConfig
from mam.config.schema import Config
from mam.data.store import AudioStore
from mam.errors import CheckpointError, DataError
from mam.evaluation.devices import device_of, make_repeatable
from mam.evaluation.inputs import located
from mam.memory import free_memory, gigabytes
from mam.merging.adapted_source import Read
from mam.merging.merger import Merger
from mam.merging.plan import MergePlan, plan_merge
from mam.merging.selection import ATTENTION, parse_parts
from mam.merging.shape import Shape
from mam.models.checkpoints import Checkpoint
from mam.models.families import family_of, load_target
from mam.models.parents import Parents
from mam.models.readout import Readout
from mam.models.sources import Source
from mam.models.targets import Target
from mam.tasks import TASKS


@dataclass
class ModelPair:
    """A loaded target, its source and merger; ``loading`` is the time to load them in seconds.

    ``further`` has the second source and those after it.
    """

    target: Target
    source: Source
    merger: Merger
    loading: float
    further: tuple[Source, ...] = ()

    @property
    def shapes(self) -> tuple[Shape, Shape]:
        """Shapes of target and source."""
        return self.target.shape, self.source.shape

    def plan(self, config: Config, partners: Mapping[int, int] | None = None) -> MergePlan:
        """Return the plan of a merge; raises MergeError as `plan_merge` does."""
        further = [source.shape for source in self.further]
        return plan_merge(config, *self.shapes, config.seed, partners=partners, further=further)


def load_pair(config: Config, parents: Parents) -> ModelPair:
    """Load the target onto its device and open the sources. All must have the configured shapes.

    Raises:
        CheckpointError: unusable, too large for the free memory, or not of the configured shape.
    """
    start = time.perf_counter()
    device, dtype = device_of(config), getattr(torch, config.dtype)
    make_repeatable(device)
    _refuse_too_large(parents.target)
    source, *further = _checked_sources(config, parents)
    target = load_target(parents.target, TASKS[config.model.task].readout(config))
    _check_shape("target", config.model.target_shape, target)
    merger = Merger(target.all_blocks, source.read, reader_of(parents.base), *(one.read for one in further))
    if (device.type, dtype) != ("cpu", torch.float32):
        merger.keep(target.shape.layers_of(config.where), kept_parts(config))
    target.to(device, dtype)
    if config.compile:
        target.compile()
    return ModelPair(target, source, merger, time.perf_counter() - start, tuple(further))


def kept_parts(config: Config) -> tuple[str, ...]:
    """Return the parts of which a cast target keeps fp32 copies: those of attention, and others that are merged."""
    return tuple(sorted({*ATTENTION, *parse_parts(config.parts)}))


def checked_parents(config: Config) -> Parents:
    """Return the checkpoints of a merge as files, each of the configured shape, without loading a model.

    Raises:
        CheckpointError, MergeError: unusable, of another shape, or an unknown kind of target.
    """
    parents = located(config)
    remarks_of(config.model, parents.target)
    _check_shape("target", config.model.target_shape, Source(parents.target))
    _checked_sources(config, parents)
    return parents


def _checked_sources(config: Config, parents: Parents) -> list[Source]:
    """Return all sources; raises CheckpointError for one that is unusable or not of the configured shape."""
    sources = [Source(checkpoint) for checkpoint in parents.sources]
    for number, (source, stated) in enumerate(
        zip(sources, (config.model.source_shape, *config.model.further_shapes), strict=True), 1
    ):
        _check_shape("source" if number == 1 else f"source {number}", stated, source)
    return sources


def reader_of(checkpoint: Checkpoint | None) -> Read | None:
    """Return what reads the attention of a checkpoint, if there is one."""
    return None if checkpoint is None else Source(checkpoint).read


def remarks_of(config: ModelConfig, target: Checkpoint) -> tuple[str, ...]:
    """Return remarks on how a target's files are read, if not in the usual way. No weights are loaded.

    Raises:
        CheckpointError: files that do not fit together, or an unknown kind of target.
    """
    readout: Readout = "text" if config.task == "asr" else "features"
    return family_of(target, readout).check_settings(target, readout)


def _refuse_too_large(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError if a model would not fit into the free memory."""
    needed = checkpoint.parameters * torch.float32.itemsize
    free = free_memory()
    if needed > free:
        raise CheckpointError(
            f"model.target={checkpoint.id}: needs {gigabytes(needed)} of memory in float32, but only {gigabytes(free)}"
            " are free."
            " Use a smaller model or a machine with more memory."
        )


def _check_shape(side: str, stated: ShapeConfig, model: Target | Source) -> None:
    actual = asdict(model.shape)
    wrong = [
        f"{key} {value}, not {getattr(stated, key)}"
        for key, value in actual.items()
        if getattr(stated, key) not in (None, value)
    ]
    if wrong:
        words = " ".join(f"model.{side}_shape.{key}={value}" for key, value in actual.items())
        remedy = "leave model.further_shapes out" if " " in side else f"set {words}"
        raise CheckpointError(
            f"model.{side}={model.checkpoint.id}: has {'; '.join(wrong)} as configured. If the checkpoint is right,"
            f" {remedy}"
        )


def refuse_too_long(audio: AudioStore, family: type[Target], checkpoint: Checkpoint) -> None:
    """Raise DataError if the longest recording cannot fit into memory, before a model is loaded.

    The system would kill the process rather than report that.
    """
    longest = max(range(len(audio.samples)), key=lambda i: audio.samples[i], default=None)
    needed = 0 if longest is None else family.working_bytes(checkpoint, audio.samples[longest])
    free = free_memory()
    if longest is not None and needed > free:
        name = audio.corpus.examples[longest]["id"]
        raise DataError(
            f"{name}: is {audio.seconds[longest] / 60:.0f} minutes long, and {checkpoint.id} processes it as a whole:"
            " that"
            f" needs at least {gigabytes(needed)} of memory, but only {gigabytes(free)} are free. Cut it into pieces."
        )
