"""The question that a run answers, which identifies it, and the search for a finished run that answered it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mam.config.job import Job
from mam.config.merging import reads_calibration
from mam.config.schema import Config, code_identity, resolved
from mam.config.tuning import TUNINGS
from mam.data.examples import COLUMNS
from mam.evaluation.calibration_files import TRAIN, inputs_sha256, train_config
from mam.evaluation.devices import device_type
from mam.evaluation.fitness import refuse_unfit
from mam.evaluation.inputs import Inputs
from mam.files import expanded, sha256_json
from mam.identity import RELEASE
from mam.records.reading import find_finished, read_result
from mam.records.result import RunResult


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run: its folder and result, and whether it was finished before (``skipped``)."""

    status: Literal["finished", "skipped"]
    folder: Path
    result: RunResult


def question_of(config: Config, inputs: Inputs) -> dict[str, Any]:
    """Return what identifies a run: the configuration, and hashes of data, checkpoints and code.

    A run with the same question as a finished one is skipped.

    Raises:
        DataError, CheckpointError: data or a checkpoint do not exist.
        UnfitError: method or alignment are not defined for this pair of models.
    """
    parents = inputs.parents(config)
    refuse_unfit(config, parents)
    question: dict[str, Any] = {
        "config": resolved(config),
        "data": inputs.corpus(config).sha256,
        **{role: checkpoint.fingerprint for role, checkpoint in parents.named},
        "mam": RELEASE,
        "device": device_type(config),
        "dtype": config.dtype,
    } | code_identity(config)
    further = set(config.evaluate.by) & set(inputs.corpus(config).examples.column_names) - set(COLUMNS)
    if further:  # not in the hash of the data
        question["grouped by"] = {name: sha256_json(inputs.corpus(config).column(name)) for name in sorted(further)}
    if config.train.name != "none":
        from mam.training.splits import corpora

        question["taught"] = [corpus.sha256 for corpus in corpora(config, inputs)]
    if reads_calibration(config):
        own = [inputs.corpus(train_config(config)).sha256] if config.calibration.audio == TRAIN else []
        question["calibrated on"] = [*inputs_sha256(config.calibration), *own]
    if config.train.name == "none" and config.tune.name != "none" and config.model.task == "asr":
        split = config.tune.audio if "audio" in TUNINGS[config.tune.name].reads else "dev"
        question["chosen on"] = inputs.corpus(replace(config, data=replace(config.data, split=split))).sha256
    return question


def finished_run(job: Job, inputs: Inputs, question: Mapping[str, Any] | None = None) -> RunOutcome | None:
    """Return the outcome of this job if it is finished already, or None if it must run."""
    config = job.config
    if config.force:
        return None
    run_hash = sha256_json(question_of(config, inputs) if question is None else question)
    folder = find_finished(expanded(config.outputs), job.signature, run_hash)
    if folder is None:
        return None
    result = read_result(folder)
    if not result.grouped_by.issuperset(config.evaluate.by):
        return None
    outcome = RunOutcome("skipped", folder, result)
    if not config.evaluate.dev:
        return outcome
    dev = result.dev
    return outcome if dev is not None and dev.data == inputs.dev_sha256(config) else None


def claims_of(config: Config) -> Path:
    """Return the file of the claims to the runs in ``config.outputs``."""
    return expanded(config.outputs) / ".claims"
