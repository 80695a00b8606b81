"""Shapes of the models, read from their checkpoints if the configuration leaves them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from mam.config.checks import problems
from mam.config.job import Job
from mam.config.model import ShapeConfig, is_complete, shape_of
from mam.errors import ConfigError
from mam.merging.shape import Shape
from mam.models.locate import locate
from mam.models.sources import Source


def with_shapes(plan: Sequence[Job]) -> list[Job]:
    """Return the jobs with the shapes of all models filled in, and checked again across fields.

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
        raise ConfigError("there is nothing to run: all runs are controls at λ=0, which equal the baseline")
    return jobs


def _filled_in(job: Job, known: dict[tuple[str, str], Shape]) -> Job:
    model, where = job.config.model, job.config.where
    if is_complete(model, where):
        return job

    def filled(stated: ShapeConfig, name: str, revision: str = "main") -> ShapeConfig:
        """Return a configured shape, with missing values from the checkpoint."""
        if shape_of(stated, where) is not None:
            return stated
        if (name, revision) not in known:
            known[name, revision] = Source(locate(name, revision)).shape
        read = asdict(known[name, revision]) | ({"decoder": None} if where == "encoder" else {})
        overrides = {key: value for key, value in asdict(stated).items() if value is not None}
        return ShapeConfig(**(read | overrides))

    further = model.further_shapes or [ShapeConfig()] * len(model.further)
    shaped = replace(
        model,
        target_shape=filled(model.target_shape, model.target, model.target_revision),
        source_shape=filled(model.source_shape, model.source, model.source_revision),
        further_shapes=[filled(stated, name) for stated, name in zip(further, model.further, strict=True)],
    )
    config = replace(job.config, model=shaped)
    faults = problems(config)
    if faults:
        raise ConfigError(faults)
    return replace(job, config=config)
