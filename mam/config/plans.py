"""Studies: from the axes and arms of a configuration to the jobs of its plan."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mam.config.compose import BESIDE, Job, composing, distinct, is_empty, job_of, parsed
from mam.config.merging_checks import replacing_schedule, unaligned
from mam.config.words import word_of
from mam.errors import ConfigError


def study_jobs(study: Job, pairs: Mapping[str, Sequence[str]] | None = None) -> list[Job]:
    """The runs of a study: every combination of its axes, in every arm.

    `shrink` stands beside every merge, unless axes, arms or the command line say which controls there are. A control at
    λ=0 is the baseline again and left out.

    Args:
        study: the configuration with axes and arms.
        pairs: the words of each of ``study.pairs`` by its name, which take the place of arms and of an axis ``model``.

    Raises:
        ConfigError: an axis is not a key of the configuration, or is set on the command line too.
    """
    depth, config = study.config.model.target_shape.layers, study.config.study
    axes = {
        key: _layer_sets(values, depth) if key == "layers.spec" else values
        for key, values in config.axes.items()
        if not (pairs and key == "model")
    }
    said = {word.split("=")[0] for word in study.overrides}
    twice = [f"{key}: the study varies it. Say 'study.axes.{key}=[...]' instead" for key in axes if key in said]
    if twice:
        raise ConfigError(twice)
    in_arms = {word.split("=")[0] for words in config.arms.values() for word in words}
    if "control" not in {*axes, *said, *in_arms}:
        axes["control"] = list(BESIDE)
    words = [[word_of(key, value) for value in values] for key, values in axes.items()]
    made: list[Job] = []
    with composing() as loader:
        _, found = parsed([word for axis in words for word in axis], loader, multirun=False)
        if found:
            raise ConfigError([f"study.axes: {problem}" for problem in found])
        arms = [[*arm_words, f"study.arm={name}"] for name, arm_words in (pairs or config.arms).items()]
        for combination in itertools.product(*words):
            for arm in arms or [[]]:
                combined = replacing_schedule(study.overrides, (*combination, *arm))
                job = job_of(combined if "control" in said else unaligned(combined))
                if not is_empty(job):
                    made.append(job)
    return distinct(made)


def extended(job: Job, words: Sequence[str]) -> Job:
    """The job with further words, of which the last wins. Raises ConfigError."""
    with composing():
        return job_of(replacing_schedule(job.overrides, words))


def _layer_sets(values: Sequence[Any], depth: int) -> list[Any]:
    """``each``, ``tops`` and ``bottoms`` spelled out for a target of so many layers; no layer alone occurs twice."""
    sets = {
        "each": [str(layer) for layer in range(depth)],
        "tops": [*(f"top{n}" for n in range(2, depth)), "all"],
        "bottoms": [f"bottom{n}" for n in range(2, depth)],
    }
    return [spec for value in values for spec in sets.get(value, [value])]
