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
from mam.memory import free_memory, gigabytes
from mam.merging.merger import Merger
from mam.merging.shape import Shape
from mam.models.checkpoints import Checkpoint
from mam.models.families import family_of, load_target
from mam.models.locate import locate
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


def load_pair(config: Config, checkpoints: tuple[Checkpoint, Checkpoint]) -> ModelPair:
    """Load the target onto its device and open the source. Both must have the configured shapes.

    Raises:
        CheckpointError: unusable, too large for the free memory, or not of the configured shape.
    """
    start, (target_checkpoint, source_checkpoint) = time.perf_counter(), checkpoints
    device, dtype = device_of(config), getattr(torch, config.dtype)
    make_repeatable(device)
    _refuse_too_large(target_checkpoint)
    source = Source(source_checkpoint)
    _check_shape("source", config.model.source_shape, source_checkpoint.id, source)
    target = load_target(target_checkpoint, TASKS[config.model.task].readout(config))
    _check_shape("target", config.model.target_shape, target_checkpoint.id, target)
    merger = Merger(target.blocks, source.read)
    if (device.type, dtype) != ("cpu", torch.float32):
        merger.keep_all()
    target.to(device, dtype)
    if config.compile:
        target.compile()
    return ModelPair(target, source, merger, time.perf_counter() - start)


def checked_source_and_target(config: ModelConfig) -> tuple[Checkpoint, Source]:
    """Return both sides as files, each of the configured shape, without loading a model.

    Raises:
        CheckpointError, MergeError: unusable, of another shape, or an unknown kind of target.
    """
    target = locate(config.target, config.target_revision, config.target_sha256)
    remarks_of(config, target)
    source = Source(locate(config.source, config.source_revision, config.source_sha256))
    _check_shape("target", config.target_shape, target.id, Source(target))
    _check_shape("source", config.source_shape, source.checkpoint.id, source)
    return target, source


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
