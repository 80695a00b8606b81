"""One experiment from start to finish: start reading here.

The inputs are a pair of models, a data set and λ. The unmerged target is evaluated first (the baseline). Then its
attention is merged with the source's (and fine-tuned with ``train=``) and it is evaluated again on the same
examples. The difference is reported with its interval.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from mam import processes
from mam.config.command import command_of
from mam.config.job import Job
from mam.config.merging import reads_calibration
from mam.config.schema import Config, code_identity, resolved
from mam.data.corpus import FEATURES
from mam.evaluation.calibration import TRAIN, inputs_sha256, train_config
from mam.evaluation.devices import device_of, environment
from mam.evaluation.language import settled
from mam.evaluation.model_pair import ModelPair, refuse_unfit
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import plan_for, zero_shot
from mam.extensions import blaming, use
from mam.files import expanded, sha256_json
from mam.identity import VERSION
from mam.locks import claimed, is_claimed
from mam.memory import explained
from mam.merging.plan import MergePlan
from mam.models.checkpoints import Checkpoint
from mam.records.folder import RunFolder, open_run, refuse_unwritable, run_root
from mam.records.parts import ModelRecord, Seeds
from mam.records.reading import find_finished, read_result
from mam.records.result import SCHEMA, RunResult
from mam.runs.record import (
    checkpoint_record,
    data_record,
    extensions_record,
    group_rows,
    merge_record,
    score,
    timing,
    window_notes,
)
from mam.tasks import TASKS
from mam.tasks.groups import refuse_unknown_columns
from mam.training.resumption import folder_of, forget, unfinished
from mam.tuning.choose import Choice, choose, dev_sha256, on_dev

log = logging.getLogger("mam")


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run: its folder and result, and whether it was finished before (``skipped``)."""

    status: Literal["finished", "skipped"]
    folder: Path
    result: RunResult


@blaming()
@explained()
def run(job: Job, bench: Workbench, parent: Path | None = None) -> RunOutcome:
    """Run one job, or return its earlier result.

    Args:
        job: a checked configuration whose shapes are filled in.
        bench: shared with other runs of the same process.
        parent: the folder for the run's folder; by default ``outputs/<date>``.

    Raises:
        MamError: anything that the user can fix. No folder is left then, except after an error in a plug-in.
    """
    config = job.config
    use(config.plugins)
    refuse_unwritable(expanded(config.outputs))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    processes.join(device_of(config).type == "cuda")

    bench.cache(config)  # a folder that is no cache is refused here
    question = question_of(config, bench)
    if config.evaluate.by:
        refuse_unknown_columns(config, bench.corpus(config))
    with _claim(config, question, bench):
        finished = processes.from_main(finished_run(job, bench, question))
        if finished:
            if processes.is_main():
                forget(folder_of(expanded(config.outputs), question))  # of a run that was killed when it had finished
            return RunOutcome("skipped", finished, read_result(finished))
        return _new_run(job, bench, question, parent)


def _claim(config: Config, question: Mapping[str, Any], bench: Workbench) -> AbstractContextManager[None]:
    """Return the context in which no other command computes this run; the others wait, and find it finished then."""
    if config.force or not processes.is_main():
        return nullcontext()
    waiting = "another command is computing this run; waiting for it"
    return claimed(claims_of(config), sha256_json(question), lambda: bench.terminal.say(waiting))


def is_being_computed(job: Job, bench: Workbench) -> bool:
    """Return whether another command is computing this run now. Raises the errors of `question_of`."""
    config, file = job.config, claims_of(job.config)
    is_possible = not config.force and file.exists()  # asked first, because the question of a run takes time
    return is_possible and is_claimed(file, sha256_json(question_of(config, bench)))


def claims_of(config: Config) -> Path:
    """Return the file of the claims to the runs in ``config.outputs``."""
    return expanded(config.outputs) / ".claims"


def _new_run(job: Job, bench: Workbench, question: Mapping[str, Any], parent: Path | None) -> RunOutcome:
    """Compute a run that is not finished yet; see `run`."""
    config = job.config
    # Errors in the input are raised here, before a folder is made.
    checkpoints = bench.checkpoints(config.model)
    audio = bench.audio(config)
    choice_of_language = settled(config, bench)
    config = choice_of_language.config  # null and auto are replaced by language, normalizer and metric
    pair = bench.pair(config)  # again, to set the language of the decoder
    target, task = pair.target, TASKS[config.model.task]
    plan = plan_for(config, pair, config.lam)
    task.check(config, audio, target.labels if target.readout == "scores" else None)
    is_trained, is_tuned = config.train.name != "none", config.tune.name != "none"
    if is_trained:
        from mam.training.fine_tune import check_lessons, fine_tune  # importing accelerate takes seconds

        check_lessons(config, bench, target)
    if parent is None and config.schedule.name != "constant":
        bench.terminal.say(plan.by_layer)

    with open_run(job, parent or run_root(config.outputs)) as folder:
        command = command_of(job)
        log.info("%s", command)
        baseline = bench.baseline(config, plan.first)
        choice = _chosen(config, bench, question, folder) if is_tuned else None
        if is_trained:
            measurement = fine_tune(config, bench, checkpoints, plan, question, folder, baseline)
        else:
            plans = {"": plan}
            if choice is not None:
                plans = {fold: plan_for(config, pair, lam) for fold, lam in choice.lams.items()}
            measurement = zero_shot(config, bench, plans, baseline)
            folder.lambdas(measurement.lams, measurement.plan.parts)
        pair.merger.restore()

        folder.predictions(measurement.sides, measurement.baseline)
        pooled = [row for side in measurement.sides for row in side]
        for name, rows in task.tables(pooled, measurement.baseline).items():
            folder.table(name, rows)
        folder.table("attention", measurement.attention.table)

        in_windows = sum(map(target.in_windows, audio.samples))
        remarks = [
            *choice_of_language.notes,
            *window_notes(in_windows, len(audio.samples)),
            *measurement.notes,
            *([] if choice is None else choice.notes),
        ]
        caveats = _caveats(measurement.plan, pair, checkpoints[0])
        scoring = score(measurement.sides, measurement.baseline, config, remarks, measurement.kind)
        target_record, source_record = map(checkpoint_record, checkpoints)
        result = RunResult(
            schema=SCHEMA,
            signature=job.signature,
            hash=sha256_json(question),
            status="finished",
            command=command,
            task="asr" if config.model.task == "asr" else "events",
            model=ModelRecord(config.model.name, target_record, source_record, choice_of_language.decoder),
            data=data_record(config, audio, len(measurement.baseline), in_windows),
            merge=merge_record(config, measurement, [*caveats, *target.remarks]),
            head=measurement.head,
            train=measurement.train,
            tune=None if choice is None else choice.record,
            dev=on_dev(config, bench) if config.evaluate.dev else None,
            remarks=remarks,
            metrics=scoring.metrics,
            baseline=scoring.baseline,
            delta=scoring.delta,
            diagnostics=scoring.diagnostics,
            groups=scoring.groups,
            timing=timing(pair.loading, measurement, baseline, sum(audio.seconds)),
            env=environment(config),
            seeds=Seeds(config.seed, config.seed, config.seed if is_trained else None),
            extensions=extensions_record(job),
        )
        if result.groups:
            folder.table("groups", group_rows(result.groups))
        folder.finish(result)
    return RunOutcome("finished", folder.path, result)


def question_of(config: Config, bench: Workbench) -> dict[str, Any]:
    """Return what identifies a run: the configuration, and hashes of data, checkpoints and code.

    A run with the same question as a finished one is skipped.

    Raises:
        DataError, CheckpointError: data or a checkpoint do not exist.
        UnfitError: method or alignment are not defined for this pair of models.
    """
    target, source = bench.checkpoints(config.model)
    refuse_unfit(config, target, source)
    question: dict[str, Any] = {
        "config": resolved(config),
        "data": bench.corpus(config).sha256,
        "target": target.fingerprint,
        "source": source.fingerprint,
        "mam": VERSION,
        "device": device_of(config).type,
        "dtype": config.dtype,
    } | code_identity(config)
    further = set(config.evaluate.by) & set(bench.corpus(config).examples.column_names) - set(FEATURES)
    if further:  # not in the hash of the data
        question["grouped by"] = {name: sha256_json(bench.corpus(config).column(name)) for name in sorted(further)}
    if config.train.name != "none":
        from mam.training.folds import corpora

        question["taught"] = [corpus.sha256 for corpus in corpora(config, bench)]
    if reads_calibration(config):
        own = [bench.corpus(train_config(config)).sha256] if config.calibration.audio == TRAIN else []
        question["calibrated on"] = [*inputs_sha256(config.calibration), *own]
    if config.train.name == "none" and config.tune.name != "none" and config.model.task == "asr":
        split = config.tune.audio if config.tune.name == "entropy" else "dev"
        question["chosen on"] = bench.corpus(replace(config, data=replace(config.data, split=split))).sha256
    return question


def finished_run(job: Job, bench: Workbench, question: Mapping[str, Any] | None = None) -> Path | None:
    """Return the folder in which this job is finished already, or None if it must run."""
    config = job.config
    if config.force:
        return None
    run_hash = sha256_json(question_of(config, bench) if question is None else question)
    folder = find_finished(expanded(config.outputs), job.signature, run_hash)
    if folder is None:
        return None
    result = read_result(folder)
    if not result.grouped_by.issuperset(config.evaluate.by):
        return None
    if not config.evaluate.dev:
        return folder
    dev = result.dev
    return folder if dev is not None and dev.data == dev_sha256(config, bench) else None


def _caveats(plan: MergePlan, pair: ModelPair, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the target's caveats about what is merged; none where nothing is."""
    return () if plan.is_identity else pair.target.caveats(checkpoint, plan.parts)


def _chosen(config: Config, bench: Workbench, question: Mapping[str, Any], folder: RunFolder) -> Choice:
    """Choose λ by ``config.tune``; a search that was killed is resumed."""
    with unfinished(expanded(config.outputs), question, "auto", bench.terminal.say) as work:
        choice = choose(config, bench, work)
        folder.when_finished.append(partial(forget, work))
    return choice
