"""The computation of a run that is not finished yet; it imports torch and everything that computes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mam.config.command import command_of
from mam.config.job import Job
from mam.config.schema import Config
from mam.evaluation.devices import environment
from mam.evaluation.inputs import Inputs
from mam.evaluation.language import settled
from mam.evaluation.model_pair import ModelPair
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import plan_for, zero_shot
from mam.files import expanded, sha256_json
from mam.merging.plan import MergePlan
from mam.models.checkpoints import Checkpoint
from mam.records.folder import RunFolder, open_run, run_root
from mam.records.parts import Seeds
from mam.records.result import SCHEMA, RunResult
from mam.runs.question import RunOutcome
from mam.runs.record import (
    data_record,
    extensions_record,
    group_rows,
    merge_record,
    model_record,
    timing,
    window_notes,
)
from mam.runs.scored import score
from mam.tasks import TASKS
from mam.training.resumption import forget, unfinished
from mam.tuning.choose import choose, on_dev
from mam.tuning.dev import Choice

log = logging.getLogger("mam")


def compute(job: Job, inputs: Inputs, question: Mapping[str, Any], parent: Path | None) -> RunOutcome:
    """Compute a run that is not finished yet; see `run`."""
    config, bench = job.config, Workbench.of(inputs)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    # Errors in the input are raised here, before a folder is made.
    parents = bench.parents(config)
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
            measurement = fine_tune(config, bench, parents, plan, question, folder, baseline)
        else:
            plans = {"": plan}
            if choice is not None:
                plans = {fold: plan_for(config, pair, lam) for fold, lam in choice.lams.items()}
            measurement = zero_shot(config, bench, plans, baseline)
            folder.lambdas([one.lams for one in measurement.ended.each], measurement.plan.parts_at)
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
        caveats = _caveats(measurement.plan, pair, parents.target)
        scoring = score(measurement.sides, measurement.baseline, config, remarks, measurement.kind)
        result = RunResult(
            schema=SCHEMA,
            signature=job.signature,
            hash=sha256_json(question),
            status="finished",
            command=command,
            task="asr" if config.model.task == "asr" else "events",
            model=model_record(config, parents, choice_of_language.decoder),
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


def _caveats(plan: MergePlan, pair: ModelPair, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the target's caveats about what is merged; none where nothing is."""
    return () if plan.is_identity else pair.target.caveats(checkpoint, plan.parts)


def _chosen(config: Config, bench: Workbench, question: Mapping[str, Any], folder: RunFolder) -> Choice:
    """Choose λ by ``config.tune``; a search that was killed is resumed."""
    with unfinished(expanded(config.outputs), question, "auto", bench.terminal.say) as work:
        choice = choose(config, bench, work)
        folder.when_finished.append(partial(forget, work))
    return choice
