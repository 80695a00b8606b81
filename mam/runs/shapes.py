"""Shapes of the models, read from their checkpoints if the configuration leaves them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from mam.config.checks import problems
from mam.config.job import Job
from mam.config.model import SIDES, ModelConfig, ShapeConfig, is_complete, shape_of
from mam.errors import ConfigError
from mam.merging.shape import Shape
from mam.models.locate import locate
from mam.models.sources import Source


def with_shapes(plan: Sequence[Job]) -> list[Job]:
    """Return the jobs with the shapes of both models filled in, and checked again across fields.

    Raises:
        CheckpointError, MergeError: a checkpoint that does not exist or is of an unknown kind.
        ConfigError: options that do not fit the shapes.
    """
    shapes: dict[tuple[str, str], Shape] = {}
    return [_filled_in(job, shapes) for job in plan]


def plan_with_shapes(plan: Sequence[Job]) -> list[Job]:
    """Return the jobs of a sweep or a study with shapes, without controls that turn out to merge nothing.

    Raises:
        ConfigError: no job is left. Also raises the errors of `with_shapes`.
    """
    jobs = [job for job in with_shapes(plan) if not job.is_empty_control]
    if not jobs:
        raise ConfigError("no run is left: only controls at λ=0 were asked for")
    return jobs


def _filled_in(job: Job, shapes: dict[tuple[str, str], Shape]) -> Job:
    model, where = job.config.model, job.config.where
    if is_complete(model, where):
        return job
    target, source = (_with_shape(model, side, where, shapes) for side in SIDES)
    config = replace(job.config, model=replace(model, target_shape=target, source_shape=source))
    faults = problems(config)
    if faults:
        raise ConfigError(faults)
    return replace(job, config=config)


def _with_shape(model: ModelConfig, side: str, where: str, shapes: dict[tuple[str, str], Shape]) -> ShapeConfig:
    """Return the configured shape, with missing values from the checkpoint."""
    stated: ShapeConfig = getattr(model, f"{side}_shape")
    if shape_of(model, side, where) is not None:
        return stated
    location = getattr(model, side), getattr(model, f"{side}_revision")
    if location not in shapes:
        shapes[location] = Source(locate(*location)).shape
    read = asdict(shapes[location]) | ({"decoder": None} if where == "encoder" else {})
    overrides = {key: value for key, value in asdict(stated).items() if value is not None}
    return ShapeConfig(**(read | overrides))
