"""All trainings of a run, what is recorded of them and what they are compared with.

A run has one training, or one per fold for audio events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mam import processes
from mam.config.schema import Config
from mam.errors import DataError
from mam.evaluation.devices import device_of
from mam.evaluation.measurement import Measurement
from mam.evaluation.workbench import Readings, Workbench
from mam.files import expanded, sha256_json
from mam.merging.lambdas import Lambdas
from mam.merging.options import OPTION_NAMES
from mam.merging.plan import MergePlan
from mam.models.parents import Parents
from mam.models.targets import Target
from mam.records.folder import RunFolder
from mam.records.learning import DevChange, FoldTraining, TrainRecord
from mam.records.reading import PredictionRow, find_ft, read_metrics, read_predictions
from mam.tasks import TASKS
from mam.tasks.task import paired
from mam.training.diagnostics import of_lambdas, slower_than_ft
from mam.training.folds import Fold, classes_of, folds
from mam.training.lessons import transcripts
from mam.training.resumption import forget, others_unfinished, unfinished, written
from mam.training.splits import of_split
from mam.training.train import FinishedTraining, train
from mam.training.trainer import arguments

MERGING = (*OPTION_NAMES, "tune")  # options that do not affect regular fine-tuning without merging


def check_lessons(config: Config, bench: Workbench, target: Target) -> None:
    """Raise an error for data or settings that cannot be trained on, before the baseline is computed.

    Raises:
        DataError, TrainingError: see `transcripts`, `folds` and `arguments`.
    """
    arguments(config, expanded(config.outputs), TASKS[config.model.task].metric(config), device_of(config))
    for split in folds(config, bench):
        if config.model.task == "asr":
            transcripts(config, target, split.train, config.data.on_bad)


def fine_tune(
    config: Config,
    bench: Workbench,
    parents: Parents,
    plan: MergePlan,
    question: Mapping[str, Any],
    folder: RunFolder,
    baseline: Readings,
) -> Measurement:
    """Train every fold and compare with regular fine-tuning, or with ``baseline`` if that has not been run.

    An interrupted training with the same ``question`` is resumed. ``metrics.jsonl`` and ``lambda.csv`` are written to
    the run's folder and, with ``train.save_model``, plain checkpoints.

    Args:
        config: the configuration.
        bench: shared by all runs.
        parents: the checkpoints of the merge.
        plan: the merge, or the one at which learning λ starts.
        question: identifies the run.
        folder: of the run.
        baseline: the readings of the unmodified target.

    Raises:
        MamError: see `folds`, `unfinished` and `train`.
    """
    audio, task, splits = bench.audio(config), TASKS[config.model.task], folds(config, bench)
    before = _dev_before(config, bench)
    bench.free_states()
    trainings = _train_folds(config, bench, parents, plan, splits, question, folder)
    lams_by_source = tuple(np.mean([training.lams_by_source for training in trainings], axis=0).tolist())
    ended = plan.at(lams_by_source)
    # Of the λ that were learnt, which may have started from 0; now, since what it reads stays in memory.
    report = bench.pair(config).merger.report(ended)
    histories = [_history(split, training) for split, training in zip(splits, trainings, strict=True)]
    folder.jsonl("metrics", [entry for history in histories for entry in history])
    _write_lambdas(folder, plan, splits, trainings, config)

    judged = task.judge(config, audio, baseline.items, baseline.items, None)
    attention = bench.attention(config, plan.layers, trainings[0].target)
    notes = [*judged.notes, *attention.findings(ended.lams)]
    for split, training in zip(splits, trainings, strict=True):
        notes += of_lambdas(training.lams, config, split.name, training.best_step)
    skipped = sum(len(training.skipped) for training in trainings)
    if skipped:
        notes.append(f"training clips skipped because of data.on_bad=skip: {skipped} (listed in result.json)")
    key, is_ft = ft_key(question), config.train.name == "finetune" and plan.is_identity
    ft = None if is_ft else processes.from_main(find_ft(expanded(config.outputs), key))
    compared = judged.baseline
    if ft is not None:
        (compared,), _ = read_predictions(ft)
        notes += _slower(ft, splits, histories)
    elif not is_ft:
        notes.append(_without_ft(config))
    return Measurement(
        plan=plan,
        report=report,
        sides=[[row for training in trainings for row in training.test]],
        baseline=compared,
        attention=attention,
        lams_by_source=lams_by_source,
        notes=notes,
        head=None if judged.head is None else replace(judged.head, name="trained"),
        evaluating=sum(training.evaluating for training in trainings),
        kind="unmerged" if ft is None else "ft",
        train=TrainRecord(
            name="lmam" if config.train.is_lmam else "finetune",
            settings=_settings(config),
            ft_key=key,
            folds=[_account(plan, split, training) for split, training in zip(splits, trainings, strict=True)],
            dev=_dev(config, [row for training in trainings for row in training.dev], before),
            seconds=round(sum(training.seconds for training in trainings), 2),
            processes=processes.count(),
            lam_at_start=list(plan.lams),
            ft=None if ft is None else str(ft),
        ),
    )


def _train_folds(
    config: Config,
    bench: Workbench,
    parents: Parents,
    plan: MergePlan,
    splits: Sequence[Fold],
    question: Mapping[str, Any],
    folder: RunFolder,
) -> list[FinishedTraining]:
    """Train one fold after the other; resume an interrupted run of the same question."""
    classes = classes_of(splits) if config.model.task == "events" else []
    is_alone = config.study.name == "none"  # in a study, the other unfinished trainings belong to its other runs
    for sentence in others_unfinished(expanded(config.outputs), question) if is_alone else ():
        bench.terminal.say(sentence)
    trainings = []
    with unfinished(expanded(config.outputs), question, config.train.resume, bench.terminal.say) as work:
        for split in splits:
            training = train(config, bench, parents, plan, split, classes, work / (split.name or "all"))
            if config.train.save_model and processes.is_main():
                with written(folder.path / "model" / split.name) as path:
                    training.target.save(path, training.head, classes)
            trainings.append(training)
        folder.when_finished.append(partial(forget, work))
    return trainings


def _settings(config: Config) -> dict[str, Any]:
    return {key: value for key, value in asdict(config.train).items() if key not in ("resume", "report_to")}


def _history(split: Fold, training: FinishedTraining) -> list[dict[str, Any]]:
    """Return the logs of a training, each with its fold if there are folds."""
    fold = {"fold": split.name} if split.name else {}
    return [fold | entry for entry in training.history]


def _slower(ft: Path, splits: Sequence[Fold], histories: Sequence[list[dict[str, Any]]]) -> list[str]:
    """Return sentences on trainings that progressed more slowly than regular fine-tuning."""
    notes, logs = [], read_metrics(ft)
    for split, history in zip(splits, histories, strict=True):
        notes += slower_than_ft(history, [entry for entry in logs if entry.get("fold", "") == split.name], split.name)
    return notes


def _without_ft(config: Config) -> str:
    reason = "the matching regular fine-tuning (train=finetune lam=0) was not run"
    if config.train.trainable == "lambda":
        reason = "no regular fine-tuning matches this run"
    return f"the baseline is the unmerged, untrained target, since {reason}"


def ft_key(question: Mapping[str, Any]) -> str:
    """Return a hash that is equal for all trainings with the same regular fine-tuning as baseline."""
    config = {key: value for key, value in question["config"].items() if key not in MERGING}
    of_pair = ("name", "pairing", "on_mismatch", "pretrained_on")
    model = config["model"].items()
    config["model"] = {key: value for key, value in model if "source" not in key and key not in of_pair}
    config["train"] = {key: value for key, value in config["train"].items() if key not in ("name", "lam", "save_model")}
    unread = ("source", "config", "calibrated on")
    return sha256_json({key: value for key, value in question.items() if key not in unread} | config)


def _dev_before(config: Config, bench: Workbench) -> list[PredictionRow]:
    """Return predictions of the untrained, unmerged target on dev."""
    dev, task = of_split(config, "dev"), TASKS[config.model.task]
    audio, items = bench.audio(dev), bench.baseline(dev, 0).items
    return task.judge(dev, audio, items, items, None).baseline


def _dev(config: Config, after: Sequence[PredictionRow], before: Sequence[PredictionRow]) -> DevChange:
    """Return the error rates on dev before and after training, with a paired interval.

    Dev also chose the checkpoint.
    """
    task = TASKS[config.model.task]
    if [row["id"] for row in after] != [row["id"] for row in before]:
        raise DataError(
            "dev: the clips used for choosing differ from those of the baseline. Leave train.dev_limit out."
        )
    new, old = task.counted(config, after), task.counted(config, before)
    difference = paired(config, [new], [old])
    was, now = (float(side.errors.sum() / side.lengths.sum()) for side in (old, new))
    return DevChange(task.metric(config), was, now, difference.absolute, difference.ci95)


def _account(plan: MergePlan, split: Fold, training: FinishedTraining) -> FoldTraining:
    losses = [entry["eval_loss"] for entry in training.history if "eval_loss" in entry]
    return FoldTraining(
        fold=split.name or None,
        train=training.clips,
        dev=len(training.dev),
        steps=training.history[-1]["step"],
        best_step=training.best_step,
        dev_loss=losses[-1] if losses else None,
        lam=list(plan.at(training.lams_by_source).lams),
        lams_by_source=list(training.lams_by_source) if plan.further else None,
        skipped=list(training.skipped),
    )


def _write_lambdas(
    folder: RunFolder, plan: MergePlan, splits: Sequence[Fold], trainings: Sequence[FinishedTraining], config: Config
) -> None:
    if config.train.name == "finetune":
        folder.lambdas([one.lams for one in plan.each], plan.parts_at)
        return
    has_folds, has_sources = len(splits) > 1, bool(plan.further)
    heading = ["step", "layer", "part", "lam", *(["source"] if has_sources else []), *(["fold"] if has_folds else [])]
    rows: list[list[Any]] = [heading]
    for split, training in zip(splits, trainings, strict=True):
        for step, lams in training.lams:
            for layer, part, lam, source in spread(lams, plan, config):
                more = [*([source] if has_sources else []), *([split.name] if has_folds else [])]
                rows.append([step, layer, part, repr(lam), *more])
    folder.table("lambda", rows)


def spread(lams: Mapping[str, float], plan: MergePlan, config: Config) -> list[tuple[int, str, float, int]]:
    """Return λ by name as (layer, part, λ, number of the source from 1).

    With one λ per head the part includes the head, such as ``q.3``.
    """
    shared = Lambdas(plan, config.train.lam.per, config.train.lam.constraint)
    rows = []
    for layer in plan.layers:
        for part in plan.parts_at(layer):
            for source in range(shared.sources):
                for name in shared.names_of(layer, part, source):
                    head = f".{name.rpartition('.')[2]}" if shared.per == "head" else ""
                    rows.append((layer, part + head, lams[name], source + 1))
    return rows
