"""Every training of a run (one, of audio events one a fold), and what of it is recorded and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from mam import processes
from mam.config.schema import Config
from mam.errors import DataError
from mam.evaluation.devices import device_of
from mam.evaluation.measurement import Measured
from mam.evaluation.workbench import Predictions, Workbench
from mam.files import expanded, sha256_json
from mam.merge.learnable import Lambdas
from mam.merge.plan import MergePlan
from mam.models.checkpoints import Checkpoint
from mam.models.targets import Target
from mam.records.folder import RunFolder
from mam.records.reading import find_ft, read_metrics, read_predictions
from mam.tasks import TASKS
from mam.tasks.task import Row, paired
from mam.training.diagnostics import of_lambdas, slower_than_ft
from mam.training.folds import Fold, classes_of, folds, of_split
from mam.training.lessons import transcripts
from mam.training.resumption import forget, others_unfinished, unfinished, written
from mam.training.train import Trained, train
from mam.training.trainer import arguments

# What a regular fine-tuning without merging does not depend on.
MERGING = (
    "lam",
    "schedule",
    "layers",
    "method",
    "parts",
    "bias",
    "pairing",
    "align",
    "on_mismatch",
    "project",
    "calibration",
    "heads",
    "control",
    "control_draws",
    "tune",
)


def check_lessons(config: Config, bench: Workbench, target: Target) -> None:
    """Refuse what cannot be taught now rather than after the baseline.

    Raises:
        DataError, TrainingError: as `transcripts`, `classes_of` and `arguments` say.
    """
    arguments(config, expanded(config.outputs), TASKS[config.model.task].metric(config), device_of(config))
    for split in folds(config, bench):
        if config.model.task == "asr":
            transcripts(config, target, split.train, config.data.on_bad)


def fine_tune(
    config: Config,
    bench: Workbench,
    checkpoints: tuple[Checkpoint, Checkpoint],
    plan: MergePlan,
    question: Mapping[str, Any],
    folder: RunFolder,
    baseline: Predictions,
) -> Measured:
    """Train every fold, or go on where a training of the same ``question`` was interrupted; compare with FT or, where
    that has not been run, with the target as it was (``baseline``).

    The run's folder gets ``metrics.jsonl``, ``lambda.csv`` and, by ``train.save_model``, the plain checkpoints.

    Raises:
        MamError: what `folds`, `unfinished` and `train` raise.
    """
    audio, task, splits = bench.audio(config), TASKS[config.model.task], folds(config, bench)
    classes = classes_of(splits) if config.model.task == "events" else []
    before = _dev_before(config, bench)
    bench.free_states()
    done: list[Trained] = []
    is_alone = config.study.name == "none"  # in a study the others are its other runs
    for sentence in others_unfinished(expanded(config.outputs), question) if is_alone else ():
        bench.terminal.say(sentence)
    with unfinished(expanded(config.outputs), question, config.train.resume) as work:
        for split in splits:
            one = train(config, bench, checkpoints, plan, split, classes, work / (split.name or "all"))
            if config.train.save_model and processes.is_main():
                with written(folder.path / "model" / split.name) as path:
                    one.target.save(path, one.head, classes)
            done.append(one)
        folder.when_finished.append(partial(forget, work))
    histories = [
        [({"fold": split.name} if split.name else {}) | entry for entry in one.history]
        for split, one in zip(splits, done, strict=True)
    ]
    folder.jsonl("metrics", [entry for history in histories for entry in history])
    _write_lambdas(folder, plan, splits, done, config)

    judged = task.judge(config, audio, baseline.items, baseline.items, None)
    attention = bench.attention(config, plan.layers, done[0].target)
    lams = tuple(float(mean) for mean in np.mean([one.layers for one in done], axis=0))
    notes = [*judged.notes, *attention.findings(lams)]
    for split, one in zip(splits, done, strict=True):
        notes += of_lambdas(one.lams, config, split.name, one.best_step)
    skipped = sum(len(one.skipped) for one in done)
    if skipped:
        notes.append(f"{skipped} training clips were left out (data.on_bad=skip); result.json names them")
    record = {
        "name": config.train.name,
        "settings": {key: value for key, value in asdict(config.train).items() if key not in ("resume", "report_to")},
        "ft_key": ft_key(question),
        "folds": [_account(split, one) for split, one in zip(splits, done, strict=True)],
        "dev": _dev(config, [row for one in done for row in one.dev], before),
        "seconds": round(sum(one.seconds for one in done), 2),
        "processes": processes.count(),
        "lam_at_start": list(plan.lams),
        "ft": None,
    }
    compared, kind = judged.baseline, "unmerged"
    if config.train.name == "lmam" or not plan.is_identity:
        twin = processes.from_main(find_ft(expanded(config.outputs), ft_key(question)))
        if twin is None:
            how = "has no FT to be compared with" if config.train.trainable == "lambda" else "its FT was not run"
            say = "" if config.train.trainable == "lambda" else " (train=finetune lam=0)"
            notes.append(f"compared with the unmerged target before training: {how}{say}")
        else:
            (compared,), _ = read_predictions(twin, task.REQUIRED)
            kind, record["ft"] = "ft", str(twin)
            for split, history in zip(splits, histories, strict=True):
                of_ft = [e for e in read_metrics(twin) if e.get("fold", "") == split.name]
                notes += slower_than_ft(history, of_ft, split.name)
    return Measured(
        sides=[[row for one in done for row in one.test]],
        baseline=compared,
        attention=attention,
        lams=lams,
        notes=notes,
        head=judged.head and judged.head | {"name": "trained"},
        evaluating=sum(one.evaluating for one in done),
        kind=kind,
        train=record,
    )


def ft_key(question: Mapping[str, Any]) -> str:
    """A hash that is equal for all trainings which a regular fine-tuning is the baseline of."""
    config = {key: value for key, value in question["config"].items() if key not in MERGING}
    of_pair = ("name", "pairing", "on_mismatch", "pretrained_on")
    model = config["model"].items()
    config["model"] = {key: value for key, value in model if "source" not in key and key not in of_pair}
    config["train"] = {key: value for key, value in config["train"].items() if key not in ("name", "lam", "save_model")}
    unread = ("source", "config", "calibrated on")
    return sha256_json({key: value for key, value in question.items() if key not in unread} | config)


def _dev_before(config: Config, bench: Workbench) -> list[Row]:
    """Predictions of the untrained, unmerged target on dev."""
    dev, task = of_split(config, "dev"), TASKS[config.model.task]
    audio, items = bench.audio(dev), bench.baseline(dev, 0).items
    return task.judge(dev, audio, items, items, None).baseline


def _dev(config: Config, after: Sequence[Row], before: Sequence[Row]) -> dict[str, Any]:
    """What training did on dev, on which it was chosen: rates before and after, with a paired interval."""
    task = TASKS[config.model.task]
    if [row["id"] for row in after] != [row["id"] for row in before]:
        raise DataError("dev: the clips chosen on are not those of the baseline. Leave train.dev_limit out.")
    new, old = task.counted(config, after), task.counted(config, before)
    difference = paired(config, [new], [old])
    rate = {name: float(side.errors.sum() / side.lengths.sum()) for name, side in (("after", new), ("before", old))}
    return {
        "metric": task.metric(config),
        **rate,
        "absolute": difference.absolute,
        "ci95": difference.ci95 and list(difference.ci95),
    }


def _account(split: Fold, one: Trained) -> dict[str, Any]:
    losses = [entry for entry in one.history if "eval_loss" in entry]
    return {
        "fold": split.name or None,
        "train": one.clips,
        "dev": len(one.dev),
        "steps": one.history[-1]["step"],
        "best_step": one.best_step,
        "dev_loss": losses[-1]["eval_loss"] if losses else None,
        "lam": list(one.layers),
        "skipped": [asdict(skipped) for skipped in one.skipped],
    }


def _write_lambdas(
    folder: RunFolder, plan: MergePlan, splits: Sequence[Fold], done: Sequence[Trained], config: Config
) -> None:
    if config.train.name == "finetune":
        folder.lambdas(plan.lams, plan.parts)
        return
    several = len(splits) > 1
    rows: list[list[Any]] = [["step", "layer", "part", "lam", *(["fold"] if several else [])]]
    for split, one in zip(splits, done, strict=True):
        for step, lams in one.lams:
            for layer, part, lam in spread(lams, plan, config):
                rows.append([step, layer, part, repr(lam), *([split.name] if several else [])])
    folder.table("lambda", rows)


def spread(lams: Mapping[str, float], plan: MergePlan, config: Config) -> list[tuple[int, str, float]]:
    """λ by name as (layer, part, λ); a head's part is e.g. ``q.3``."""
    shared = Lambdas(plan, config.model.target_shape.heads, config.train.lam.per, config.train.lam.constraint)
    made = []
    for layer in plan.layers:
        for part in plan.parts:
            for name in shared.names_of(layer, part):
                head = f".{name.rpartition('.')[2]}" if shared.per == "head" else ""
                made.append((layer, part + head, lams[name]))
    return made
