"""One training from start to finish: FT and MAM-FT with fixed λ, L-MAM with learnt λ. The result is a plain model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mam import processes
from mam.config.schema import Config
from mam.data.listing import SkippedExample
from mam.evaluation.devices import device_of
from mam.evaluation.model_pair import reader_of
from mam.evaluation.predict import packs_of, predict
from mam.evaluation.prefix import Prefix
from mam.evaluation.workbench import Workbench
from mam.memory import explained
from mam.merging.lambdas import Lambdas
from mam.merging.learnable import fold, learn
from mam.merging.merger import Merger
from mam.merging.plan import MergePlan
from mam.models.families import load_target
from mam.models.hidden import Hidden
from mam.models.parents import Parents
from mam.models.sources import Source
from mam.models.targets import Target
from mam.records.reading import PredictionRow
from mam.tasks import TASKS
from mam.training.folds import Fold
from mam.training.learner import Learner
from mam.training.lessons import Clips, labels, transcripts
from mam.training.sealing import last_whole
from mam.training.trainer import LAM, LambdaTrainer, arguments

log = logging.getLogger("mam")


@dataclass(frozen=True)
class FinishedTraining:
    """The result of a training: the model, predictions on dev and test, logs, and λ at the end.

    ``history`` holds the trainer's logs, ``lams`` the λ by name at every log. The first log precedes the first step.
    ``lams_by_source`` are those at the end, of every layer, of several sources for each in turn.
    """

    target: Target
    head: nn.Module | None
    dev: list[PredictionRow]
    test: list[PredictionRow]
    history: list[dict[str, Any]]
    lams: list[tuple[int, dict[str, float]]]
    lams_by_source: tuple[float, ...]
    best_step: int
    clips: int
    seconds: float
    evaluating: float
    skipped: tuple[SkippedExample, ...] = field(default=())


def train(
    config: Config,
    bench: Workbench,
    parents: Parents,
    plan: MergePlan,
    split: Fold,
    classes: Sequence[str],
    folder: Path,
) -> FinishedTraining:
    """Train a fresh target, or resume from the last complete checkpoint in ``folder``.

    Raises:
        DataError: transcripts that cannot be taught.
        MergeError: λ that cannot start at the planned value.
        TrainingError: a loss that is not a number, a checkpoint that cannot be written, or too little memory.
    """
    start, device = time.perf_counter(), device_of(config)
    task, budget = TASKS[config.model.task], int(config.evaluate.memory_gb * 1e9)
    torch.manual_seed(config.seed)  # for weights that no checkpoint holds: SpecAugment's embedding, the head
    target = load_target(parents.target, "text" if config.model.task == "asr" else "features")
    target.instruct(config.model.language, config.model.speech_task)
    head = target.new_head(len(classes)).to(device) if classes else None
    lambdas = _merge(config, bench, target, parents, plan)
    target.to(device, torch.float32)
    if config.train.gradient_checkpointing:
        target.recompute_layers()
    if classes:
        lessons, dev_lessons = (labels(side, classes) for side in (split.train, split.dev))
    else:
        lessons = transcripts(config, target, split.train, config.data.on_bad)
        dev_lessons = transcripts(config, target, split.dev, "skip")
    learner = Learner(target, lessons, config.train, head, lambdas, config.where).to(device)

    prefix = Prefix(target, split.dev, budget if config.train.freeze_front else 0, is_trained=True)
    spelled = dict(zip(dev_lessons.audio.corpus.column("id"), dev_lessons.answers, strict=True))
    answers = [spelled.get(name) for name in split.dev.corpus.column("id")]

    def evaluate_dev() -> dict[str, float]:
        items = _read_off(config, learner, split.dev, prefix, answers)
        counted = task.counted(config, _lines(config, split.dev, items, classes))
        losses = [loss for _, loss in items if loss is not None]
        return {task.metric(config): counted.errors.sum() / counted.lengths.sum(), "loss": float(np.mean(losses))}

    clips = Clips(lessons, target, config.train.freeze_front, budget)
    args = arguments(config, folder, task.metric(config), device, learner.may_rest)
    whole = last_whole(folder, bench.terminal.say) if processes.is_main() else None
    checkpoint = processes.from_main(None if whole is None else str(whole))
    if whole is not None:
        resumed = f"the training continues from step {whole.name.rpartition('-')[2]} ({whole})"
        bench.terminal.say(resumed)
        log.info("%s", resumed)
    label = " ".join(filter(None, ("training", split.name)))
    with bench.terminal.progress(label, config.train.steps, "steps") as step:
        trainer = LambdaTrainer(learner, clips, config, args, evaluate_dev, lambda steps: step(steps, 0.0))
        args.eval_on_start = checkpoint is None
        with explained(
            f"Halve train.batch_size={config.train.batch_size} and double train.accumulate, or say"
            " train.precision=bfloat16 or train.gradient_checkpointing=true."
        ):
            trainer.train(resume_from_checkpoint=checkpoint)

    logs = [entry for entry in trainer.state.log_history if "train_runtime" not in entry]
    course = dict(_lams(entry) for entry in logs if lambdas is not None)  # λ are the same in all logs of a step
    lams = plan.lams_by_source if lambdas is None else lambdas.by_source(plan)
    learner.eval()
    fold(target.all_blocks)
    dev = _lines(config, split.dev, _read_off(config, learner, split.dev, Prefix(target, split.dev, 0), None), classes)
    test_start = time.perf_counter()
    items = _read_off(config, learner, split.test, Prefix(target, split.test, 0), None)
    evaluating = time.perf_counter() - test_start
    return FinishedTraining(
        target=target,
        head=head,
        dev=dev,
        test=_lines(config, split.test, items, classes),
        history=[_as_recorded(entry) for entry in logs],
        lams=sorted(course.items()),
        lams_by_source=lams,
        best_step=trainer.state.best_global_step or 0,
        clips=len(lessons.answers),
        seconds=time.perf_counter() - start,
        evaluating=evaluating,
        skipped=lessons.skipped,
    )


def _merge(config: Config, bench: Workbench, target: Target, parents: Parents, plan: MergePlan) -> Lambdas | None:
    """Merge once (MAM-FT), or make λ part of the model and return it (L-MAM)."""
    source, *further = (Source(checkpoint).read for checkpoint in parents.sources)
    merger = Merger(target.all_blocks, source, reader_of(parents.base), *further)
    merger.activations = bench.activations(config)
    if config.train.name == "finetune":
        merger.apply(plan)
        return None
    lambdas = Lambdas(plan, config.train.lam.per, config.train.lam.constraint)
    learn(target.all_blocks, plan, merger.sources(plan), lambdas, getattr(torch, config.train.precision))
    return lambdas


def _read_off(
    config: Config, learner: Learner, audio: Any, prefix: Prefix, answers: Sequence[list[int] | None] | None
) -> list[tuple[Any, float | None]]:
    """Return for each clip its text or class probabilities, and its loss if there are ``answers``."""
    target = learner.target
    learner.eval()

    def read(members: Sequence[int], hidden: Hidden) -> list[tuple[Any, float | None]]:
        if learner.head is None:
            read_off: Sequence[Any] = target.transcribe(hidden)
        else:
            read_off = learner.head(target.pooled(hidden)).float().softmax(-1).cpu().numpy()
        losses: list[float | None] = [None] * len(members)
        taught = [n for n, i in enumerate(members) if answers is not None and answers[i] is not None]
        if taught and answers is not None:
            chosen = Hidden(hidden.states[taught], hidden.lengths[taught], hidden.whole)
            wanted = [answers[members[n]] or [] for n in taught]
            for n, loss in zip(taught, learner.losses(chosen, wanted, 0.0).tolist(), strict=True):
                losses[n] = loss
        return list(zip(read_off, losses, strict=True))

    packs = packs_of(target, audio.samples, config.evaluate.batch_seconds)
    return predict(target, prefix, packs, audio.samples, 0, read=read)


def _lines(
    config: Config, audio: Any, items: Sequence[tuple[Any, float | None]], classes: Sequence[str]
) -> list[PredictionRow]:
    return TASKS[config.model.task].lines(config, audio, [item for item, _ in items], list(classes))


def _lams(entry: dict[str, Any]) -> tuple[int, dict[str, float]]:
    return entry["step"], {key.removeprefix(LAM): lam for key, lam in entry.items() if key.startswith(LAM)}


def _as_recorded(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a log entry without λ, with None for values that are not finite.

    Under float16 these are expected: a step whose gradient overflows is skipped and the loss scale lowered.
    """
    kept = {key: entry[key] for key in sorted(entry) if not key.startswith(LAM)}
    return {key: value if np.isfinite(value) else None for key, value in kept.items()}
