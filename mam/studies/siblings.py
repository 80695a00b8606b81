"""Siblings: two models fine-tuned from the same one on two data sets, merged with each other and with their base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mam.config.command import flat
from mam.config.job import Job
from mam.config.studies import extended, study_jobs
from mam.config.training import TrainConfig
from mam.config.words import word_of
from mam.errors import ConfigError
from mam.studies.execute import Member
from mam.studies.transfer import Stage

MODEL = "model"  # folder of a run that holds what was trained


def with_siblings(study: Job, first: Sequence[Member], launch: Stage) -> list[Member]:
    """Fine-tune (done in the first stage), merge the two models, and return the merges.

    If a training failed, the members of the first stage are returned, which say why.

    Raises:
        ConfigError: The first stage is not one fine-tuning on each of two data sets.
    """
    if any(member.outcome is None for member in first):
        return list(first)
    return launch(merges(study, first))


def merges(study: Job, first: Sequence[Member]) -> list[Job]:
    """Return the merges of the second stage.

    The model that was fine-tuned on the first data set is the target, the other one the source, and the study's target
    the base, which only the methods that need one read.

    Raises:
        ConfigError: The first stage is not one fine-tuning on each of two data sets, or did not save its models.
    """
    tuned = [member for member in first if member.outcome and member.outcome.result.train is not None]
    data = [member.job.config.data.name for member in tuned]
    if len(set(data)) != 2 or len(tuned) != 2:
        raise ConfigError(
            "study.then=siblings: needs two models, fine-tuned on two data sets. Set study.axes.data=[ONE,OTHER], with"
            f" one arm that trains. This study trained {len(tuned)}, on {', '.join(data) or 'nothing'}"
        )
    folders = [_model_of(member) for member in tuned]
    model = study.config.model
    shape = vars(model.target_shape)
    untrained, trained = flat(asdict(TrainConfig())), flat(asdict(study.config.train))
    given = [key for key, value in untrained.items() if key != "name" and trained[key] != value]
    words = ["train=none", *(word_of(f"train.{key}", untrained[key]) for key in given)]
    words += ["model.name=siblings", f"model.base={model.target}", "model.base_sha256=null"]
    words += [word_of("model.base_revision", model.target_revision), "model.pairing=index", "model.on_mismatch=error"]
    for side, folder in zip(("target", "source"), folders, strict=True):
        words += [f"model.{side}={folder}", f"model.{side}_revision=main", f"model.{side}_sha256=null"]
        words += [word_of(f"model.{side}_shape.{key}", value) for key, value in shape.items()]
    stage = extended(study, words)
    second = study.config.study.second
    plan = replace(stage.config.study, axes=second.axes, arms=second.arms)
    return study_jobs(replace(stage, config=replace(stage.config, study=plan)))


def _model_of(member: Member) -> Path:
    """Return the folder of the model that a run trained."""
    assert member.outcome is not None, "asked of finished runs"
    folder = member.outcome.folder / MODEL
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{folder}: has no saved model to merge. Set train.save_model=true; models of single folds of audio"
            " events cannot be merged"
        )
    return folder
