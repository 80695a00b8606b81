"""Shapes of the models, read from their checkpoints if the configuration leaves them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from mam.config.checks import problems
from mam.config.composer import Job
from mam.config.model import SIDES, ModelConfig, ShapeConfig, is_complete, shape_of
from mam.errors import ConfigError
from mam.merge.shape import Shape
from mam.models.checkpoints import locate
from mam.models.sources import Source


def with_shapes(plan: Sequence[Job]) -> list[Job]:
    """Return the jobs with the shapes of both models filled in, and checked again across fields.

    Raises:
        CheckpointError, MergeError: a checkpoint that does not exist or is of an unknown kind.
        ConfigError: options that do not fit the shapes.
    """
    known: dict[tuple[str, str], Shape] = {}
    return [_filled_in(job, known) for job in plan]


def _filled_in(job: Job, known: dict[tuple[str, str], Shape]) -> Job:
    model = job.config.model
    if is_complete(model):
        return job
    target, source = (_with_shape(model, side, known) for side in SIDES)
    config = replace(job.config, model=replace(model, target_shape=target, source_shape=source))
    found = problems(config)
    if found:
        raise ConfigError(found)
    return replace(job, config=config)


def _with_shape(model: ModelConfig, side: str, known: dict[tuple[str, str], Shape]) -> ShapeConfig:
    """Return the configured shape, with missing values from the checkpoint."""
    stated: ShapeConfig = getattr(model, f"{side}_shape")
    if shape_of(model, side) is not None:
        return stated
    where = getattr(model, side), getattr(model, f"{side}_revision")
    if where not in known:
        known[where] = Source(locate(*where)).shape
    given = {key: value for key, value in asdict(stated).items() if value is not None}
    return ShapeConfig(**(asdict(known[where]) | given))
