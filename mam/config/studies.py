"""Studies: from the axes and arms of a configuration to the jobs of its plan."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mam.config.compose import CONTROLS_OF_SWEEPS, distinct, refuse_too_many
from mam.config.composer import Composer
from mam.config.job import Job
from mam.config.merging import with_schedule_of, without_idle_alignment
from mam.config.model import shape_of
from mam.config.words import word_of
from mam.errors import ConfigError
from mam.merging.selection import is_selection


def study_jobs(study: Job, pairs: Mapping[str, Sequence[str]] | None = None) -> list[Job]:
    """Return the runs of a study: every combination of its axes, in every arm.

    `shrink` is added to every merge, unless axes, arms or the command line name the controls. A control at λ=0 repeats
    the baseline and is left out.

    Args:
        study: The configuration with axes and arms.
        pairs: The words of each of ``study.pairs`` by name, which replace arms and an axis ``model``.

    Raises:
        ConfigError: An axis is not a key of the configuration, or is also set on the command line.
    """
    keys = {word.split("=")[0] for word in study.words}
    axes = _axes(study, keys, has_pairs=bool(pairs))
    words_by_arm = pairs or study.config.study.arms
    arms = [[*words, f"study.arm={name}"] for name, words in words_by_arm.items()] or [[]]
    refuse_too_many([*map(len, axes), len(arms)], study.config)
    runs: list[Job] = []
    with Composer(study.search) as composer:
        _refuse_wrong_words(composer, {"axes": [word for words in axes for word in words]})
        _refuse_wrong_words(composer, {f"arms.{name}": words for name, words in study.config.study.arms.items()})
        for combination in itertools.product(*axes):
            for arm in arms:
                words = with_schedule_of(study.words, (*combination, *arm))
                job = composer.job(words if "control" in keys else without_idle_alignment(words))
                if not job.is_empty_control:
                    runs.append(job)
    return distinct(runs)


def _refuse_wrong_words(composer: Composer, words_by_key: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError for words of a study that are wrong, each with its place."""
    messages = []
    for key, words in words_by_key.items():
        messages += [f"study.{key}: {problem}" for problem in composer.parsed(words, multirun=False)[1]]
    if messages:
        raise ConfigError(messages)


def _axes(study: Job, keys: set[str], has_pairs: bool) -> list[list[str]]:
    """Return the words of each axis, and add an axis of controls if none are named."""
    config = study.config.study
    axes = {key: values for key, values in config.axes.items() if not (has_pairs and key == "model")}
    arm_keys = {word.partition("=")[0] for words in config.arms.values() for word in words}
    if "plugins" in {*axes, *arm_keys}:
        raise ConfigError("study: all runs of a study must have the same plug-ins. Name all of them in plugins=[...]")
    conflicts = [f"{key}: the study varies it. Set 'study.axes.{key}=[...]' instead" for key in axes if key in keys]
    if conflicts:
        raise ConfigError(conflicts)
    if "layers" in axes and any(is_selection(str(value)) for value in axes["layers"]):
        axes["layers.spec"] = axes.pop("layers")  # files are named after the selection in them
    if "layers.spec" in axes:
        axes["layers.spec"] = _layer_sets(study, axes["layers.spec"])
    if "control" not in {*axes, *keys, *arm_keys}:
        axes["control"] = list(CONTROLS_OF_SWEEPS)
    return [[word_of(key, value) for value in values] for key, values in axes.items()]


def extended(job: Job, words: Sequence[str]) -> Job:
    """Return the job with further words, the last of which wins; raises ConfigError."""
    with Composer(job.search) as composer:
        return composer.job(with_schedule_of(job.words, words))


def _layer_sets(study: Job, values: Sequence[Any]) -> list[Any]:
    """Expand ``each``, ``tops`` and ``bottoms`` for the study's target; each single layer occurs only once."""
    where = study.config.where
    target = shape_of(study.config.model.target_shape, where)
    depth = 0 if target is None else target.chosen(where)[0].layers
    sets = {
        "each": [str(layer) for layer in range(depth)],
        "tops": [*(f"top{n}" for n in range(2, depth)), "all"],
        "bottoms": [f"bottom{n}" for n in range(2, depth)],
    }
    return [spec for value in values for spec in sets.get(value, [value])]
