"""One experiment from top to bottom: start reading here.

A pair of models, a data set, λ. The unmerged target is evaluated first (the baseline), then its attention is merged
with the source's (and, by ``train=``, fine-tuned) and it is evaluated again on the same examples; the difference comes
with its interval.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from mam import __version__, processes
from mam.config.command import command_of
from mam.config.compose import Job
from mam.config.merging_checks import reads_calibration
from mam.config.schema import Config
from mam.evaluation.calibration import TRAIN, inputs_sha256, train_config
from mam.evaluation.devices import device_of, environment
from mam.evaluation.language import settled
from mam.evaluation.model_pair import refuse_unfit
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import Lam, plan_for, zero_shot
from mam.files import expanded, sha256_json
from mam.identity import code_record, code_sha256
from mam.merge.plan import mismatch_notes, plan_merge
from mam.records.folder import RunFolder, open_run, refuse_unwritable, run_root
from mam.records.reading import find_finished, read_result
from mam.records.validity import SCHEMA
from mam.runs.record import data_record, identity, merge_record, scores, timing, window_notes
from mam.tasks import TASKS
from mam.training.resumption import forget, unfinished
from mam.tuning.choose import Choice, choose, dev_sha256, on_dev

log = logging.getLogger("mam")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its folder and result, and whether they were there already."""

    status: Literal["finished", "skipped"]
    folder: Path
    result: dict[str, Any]


def run(job: Job, bench: Workbench, parent: Path | None = None) -> Outcome:
    """Run one job, or find it finished.

    Args:
        job: a checked configuration.
        bench: what is shared with other runs of the same process.
        parent: the folder that gets the run's folder; by default ``outputs/<date>``.

    Raises:
        MamError: anything the user can mend; no folder is left then.
    """
    config = job.config
    outputs = expanded(config.outputs)
    refuse_unwritable(outputs)
    if config.threads is not None:
        torch.set_num_threads(config.threads)

    processes.join()

    question = question_of(job, bench)
    run_hash = sha256_json(question)
    finished = processes.from_main(finished_run(job, bench))
    if finished:
        return Outcome("skipped", finished, read_result(finished))

    # Everything that can be wrong with the input shows here, before a folder is made.
    checkpoints = target_checkpoint, source_checkpoint = bench.checkpoints(config.model)
    audio, pair = bench.audio(config), bench.pair(config)
    task = TASKS[config.model.task]
    spoken = settled(config, bench)
    config = spoken.config  # from here on with the language, normalizer and metric that null and auto stand for
    pair = bench.pair(config)  # whose decoder is told the language
    in_windows = sum(map(pair.target.in_windows, audio.samples))
    plan = plan_merge(config, pair.target.depth, pair.source.layers)
    notes = mismatch_notes(plan)
    notes += () if plan.is_identity else pair.target.caveats(target_checkpoint, plan.parts)
    notes += pair.target.remarks

    own_classes = pair.target.labels if pair.target.readout == "scores" else None
    task.check(config, audio, own_classes)
    is_trained, is_tuned = config.train.name != "none", config.tune.name != "none"
    if is_trained:
        from mam.training.fine_tune import check_lessons, fine_tune  # accelerate needs seconds to import

        check_lessons(config, bench, pair.target)

    if parent is None and config.schedule.name != "constant":
        bench.terminal.say(plan.by_layer)

    with open_run(job, parent or run_root(config.outputs)) as folder:
        command = command_of(job)
        log.info("%s", command)
        baseline = bench.baseline(config, plan.first)

        choice = _chosen(config, bench, question, folder) if is_tuned else None
        if is_trained:
            made = fine_tune(config, bench, checkpoints, plan, question, folder, baseline)
        else:
            lams: Mapping[str, Lam] = {"": config.lam} if choice is None else choice.lams
            made = zero_shot(config, bench, lams, baseline)
            plan = max((plan_for(config, bench, lam) for lam in lams.values()), key=lambda one: sum(one.lams))
            folder.lambdas(made.lams, plan.parts)
        choice_notes = [] if choice is None else choice.notes
        remarks = [*spoken.notes, *window_notes(in_windows, len(audio.samples)), *made.notes, *choice_notes]
        report = pair.merger.apply(plan)
        pair.merger.restore()

        folder.predictions(made.sides, made.baseline)
        for name, rows in task.tables([row for side in made.sides for row in side], made.baseline).items():
            folder.table(name, rows)
        folder.table("attention", made.attention.table)
        result = {
            "schema": SCHEMA,
            "signature": job.signature,
            "hash": run_hash,
            "status": "finished",
            "command": command,
            "task": config.model.task,
            "model": {
                "name": config.model.name,
                "target": identity(target_checkpoint),
                "source": identity(source_checkpoint),
                "decoder": spoken.decoder,
            },
            "data": data_record(config, audio, len(made.baseline)) | {"in_windows": in_windows},
            "merge": merge_record(config, plan, report, notes, len(made.sides)) | {"lam": list(made.lams)},
            "head": made.head,
            "train": made.train,
            "tune": None if choice is None else choice.record,
            "dev": on_dev(config, bench, config.lam) if config.evaluate.dev else None,
            "remarks": remarks,
            **scores(made.sides, made.baseline, config, remarks, made.kind),
            "timing": timing(pair.loading, made, baseline, sum(audio.seconds)),
            "env": environment(config) | {"code": code_record()},
            "seeds": {"bootstrap": config.seed, "control": config.seed}
            | ({"training": config.seed} if is_trained else {}),
        }
        folder.finish(result)
    return Outcome("finished", folder.path, result)


def question_of(job: Job, bench: Workbench) -> dict[str, Any]:
    """What is asked for, data, checkpoints and mam's own sources by content: the same question is answered once.

    Raises:
        DataError, CheckpointError: what is asked about is not there.
        UnfitError: it has no meaning for this pair of models.
    """
    config, (target, source) = job.config, bench.checkpoints(job.config.model)
    refuse_unfit(config, target, source)
    question: dict[str, Any] = {
        "config": job.resolved,
        "data": bench.corpus(config).sha256,
        "target": target.fingerprint,
        "source": source.fingerprint,
        "mam": __version__,
        "code": code_sha256(),
        "device": device_of(config).type,
        "dtype": config.dtype,
    }
    if config.train.name != "none":
        from mam.training.folds import corpora

        question["taught"] = [corpus.sha256 for corpus in corpora(config, bench)]
    if reads_calibration(config):
        own = [bench.corpus(train_config(config)).sha256] if config.calibration.audio == TRAIN else []
        question["calibrated on"] = [*inputs_sha256(config.calibration), *own]
    if config.train.name == "none" and config.tune.name != "none" and config.model.task == "asr":
        heard = config.tune.audio if config.tune.name == "entropy" else "dev"
        question["chosen on"] = bench.corpus(replace(config, data=replace(config.data, split=heard))).sha256
    return question


def finished_run(job: Job, bench: Workbench) -> Path | None:
    """The folder where this job is finished already; None where it is not, or is to be run again."""
    config = job.config
    if config.force:
        return None
    found = find_finished(expanded(config.outputs), job.signature, sha256_json(question_of(job, bench)))
    if found is None or not config.evaluate.dev:
        return found
    known = read_result(found).get("dev") or {}
    return found if known.get("data") == dev_sha256(config, bench) and known else None


def _chosen(config: Config, bench: Workbench, question: Mapping[str, Any], folder: RunFolder) -> Choice:
    """λ by ``config.tune``; what a killed search has found is gone on from."""
    with unfinished(expanded(config.outputs), question, "auto") as work:
        choice = choose(config, bench, work)
        folder.when_finished.append(partial(forget, work))
    return choice
