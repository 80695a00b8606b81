"""The two models of a run: found, checked, loaded, and ready to be merged."""

from __future__ import annotations

import time
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
    """A loaded target, its source and merger; ``loading`` is the time to load them in seconds."""

    target: Target
    source: Source
    merger: Merger
    loading: float

    @property
    def shapes(self) -> tuple[Shape, Shape]:
        """Shapes of target and source."""
        return self.target.shape, self.source.shape


def load_pair(config: Config, parents: Parents) -> ModelPair:
    """Load the target onto its device and open the source. Both must have the configured shapes.

    Raises:
        CheckpointError: unusable, too large for the free memory, or not of the configured shape.
    """
    start = time.perf_counter()
    device, dtype = device_of(config), getattr(torch, config.dtype)
    make_repeatable(device)
    _refuse_too_large(parents.target)
    source = Source(parents.source)
    _check_shape("source", config.model.source_shape, parents.source.id, source)
    target = load_target(parents.target, TASKS[config.model.task].readout(config))
    _check_shape("target", config.model.target_shape, parents.target.id, target)
    merger = Merger(target.all_blocks, source.read, reader_of(parents.base))
    if (device.type, dtype) != ("cpu", torch.float32):
        merger.keep(target.shape.layers_of(config.where), kept_parts(config))
    target.to(device, dtype)
    if config.compile:
        target.compile()
    return ModelPair(target, source, merger, time.perf_counter() - start)


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
    _check_shape("target", config.model.target_shape, parents.target.id, Source(parents.target))
    _check_shape("source", config.model.source_shape, parents.source.id, Source(parents.source))
    return parents


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
            f"model.target={checkpoint.id}: needs {gigabytes(needed)} in fp32, {gigabytes(free)} are free here."
            " Take a smaller one or a larger machine."
        )


def _check_shape(side: str, stated: ShapeConfig, name: str, model: Target | Source) -> None:
    actual = asdict(model.shape)
    wrong = [
        f"{key} {value}, not {getattr(stated, key)}"
        for key, value in actual.items()
        if getattr(stated, key) not in (None, value)
    ]
    if wrong:
        words = " ".join(f"model.{side}_shape.{key}={value}" for key, value in actual.items())
        raise CheckpointError(
            f"model.{side}={name}: has {'; '.join(wrong)} as configured. If it is the right one, say {words}"
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
            f"{name}: is {audio.seconds[longest] / 60:.0f} minutes long, which {checkpoint.id} hears as a whole: that"
            f" needs at least {gigabytes(needed)} of memory, and {gigabytes(free)} are free. Cut it into pieces."
        )
