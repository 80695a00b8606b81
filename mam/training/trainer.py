"""A `transformers.Trainer` that evaluates as mam does, seals its checkpoints and keeps λ within bounds."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import Sampler
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import TensorBoardCallback

from mam import processes
from mam.config.schema import Config
from mam.errors import TrainingError, first_line
from mam.files import atomic
from mam.training.learner import Learner
from mam.training.lessons import Clips, Order, collate
from mam.training.resumed import ResumedTrainer
from mam.training.resumption import written
from mam.training.sealing import seal

LAM = "lam/"  # prefix of λ in the logs
Metrics = dict[str, float]


def arguments(
    config: Config, folder: Path, metric: str, device: torch.device, may_rest: bool = False
) -> TrainingArguments:
    """Return the arguments for transformers; ``may_rest`` allows parameters without a gradient in a step.

    Raises:
        TrainingError: the batch size is not divisible by the number of processes, or the device lacks the precision.
    """
    train, share = config.train, processes.count()
    if train.batch_size % share:
        raise TrainingError(
            f"train.batch_size={train.batch_size}: cannot be divided among {share} processes. Set a multiple of"
            f" {share}."
        )
    if train.precision == "float16" and device.type == "cpu":
        raise TrainingError("train.precision=float16: not available on a CPU. Set train.precision=float32 or bfloat16.")
    try:
        training_arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=train.steps,
            per_device_train_batch_size=train.batch_size // share,
            gradient_accumulation_steps=train.accumulate,
            lr_scheduler_type=train.schedule if train.schedule != "constant" else "constant_with_warmup",
            warmup_steps=round(train.warmup * train.steps),
            max_grad_norm=train.clip,
            logging_steps=train.log_every,
            logging_nan_inf_filter=False,
            eval_strategy="steps",
            eval_steps=train.evaluate_every,
            save_steps=train.evaluate_every,
            load_best_model_at_end=True,
            metric_for_best_model=metric,
            greater_is_better=False,
            restore_callback_states_from_checkpoint=True,
            seed=config.seed % 2**32,
            bf16=train.precision == "bfloat16",
            fp16=train.precision == "float16",
            report_to=[tracker for tracker in train.report_to if tracker != "tensorboard"],  # see _tensorboard
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            use_cpu=device.type == "cpu",
            ddp_backend=None if device.type == "cuda" or share == 1 else "gloo",
            ddp_find_unused_parameters=may_rest,
            ddp_broadcast_buffers=False,  # the source is the same everywhere
        )
    except (ValueError, ImportError, RuntimeError) as error:
        raise TrainingError(f"train: {first_line(error)}") from error
    training_arguments._n_gpu = min(training_arguments.n_gpu, 1)  # one process per GPU, never torch's DataParallel
    return training_arguments


class LambdaTrainer(ResumedTrainer):
    """A trainer for a `Learner`. The best checkpoint is chosen by the metrics that ``evaluate_dev`` returns."""

    model: Learner

    def __init__(
        self,
        learner: Learner,
        clips: Clips,
        config: Config,
        args: TrainingArguments,
        evaluate_dev: Callable[[], Metrics],
        advance: Callable[[int], None],
    ) -> None:
        callbacks: list[TrainerCallback] = [_Look(learner, advance)]
        if "tensorboard" in config.train.report_to and processes.is_main():
            callbacks.append(_tensorboard(Path(str(args.output_dir))))
        if config.train.patience:
            callbacks.append(EarlyStoppingCallback(config.train.patience))
        try:
            # transformers requires an evaluation data set; `evaluate` does not use it.
            super().__init__(learner, args, collate, clips, clips, callbacks=callbacks)
        except (RuntimeError, ImportError) as error:  # a tracker that is not installed
            raise _not_installed(str(args.report_to), error) from error
        self.remove_callback(PrinterCallback)
        self._config, self._evaluate_dev = config, evaluate_dev

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return AdamW with the learner's parameter groups."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(self.model.groups())
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        train, lessons = self._config.train, self.model.lessons
        batch = train.batch_size * train.accumulate
        lengths = lessons.audio.samples
        return Order(lengths, train.steps, batch, self._config.seed, train.group_by_length)

    def evaluate(self, *args: Any, **kwargs: Any) -> Metrics:
        """Log and return the metrics on dev."""
        metrics = {f"eval_{name}": value for name, value in self._evaluate_dev().items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: Metrics, start_time: float | None = None) -> None:
        """Log with every λ, and write all logs so far to a file next to the checkpoints."""
        if self.model.lambdas is not None:
            logs |= {f"{LAM}{name}": lam for name, lam in self.model.lambdas.as_dict().items()}
        super().log(logs, start_time)
        if processes.is_main():
            folder = Path(str(self.args.output_dir))
            with atomic(folder.with_name(f"{folder.name}.metrics.jsonl")) as file:
                file.writelines(json.dumps(entry) + "\n" for entry in self.state.log_history)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        self._refuse_broken()
        try:
            with written(folder):
                super()._save_checkpoint(model, trial)
                processes.wait()
                if self.args.should_save:
                    seal(folder)
        except TrainingError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        processes.wait()

    def _refuse_broken(self) -> None:
        """Raise TrainingError for weights that are not numbers, so that no training is resumed from them."""
        broken = [name for name, weight in self.model.named_parameters() if not torch.isfinite(weight).all()]
        if broken:
            raise TrainingError(
                f"step {self.state.global_step}: {len(broken)} weights are NaN or infinite, such as {broken[0]}. The"
                " last good checkpoint is kept. Lower train.learning_rate or raise train.warmup."
            )


def _tensorboard(folder: Path) -> TrainerCallback:
    """Return a callback that logs to ``outputs/tensorboard/<hash>/<fold>``, which `forget` does not remove."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise _not_installed("tensorboard", error) from error
    board = folder.parents[2] / "tensorboard" / folder.parent.name / folder.name
    return TensorBoardCallback(SummaryWriter(str(board)))  # type: ignore[no-untyped-call]


def _not_installed(tracker: str, error: Exception) -> TrainingError:
    return TrainingError(
        f"train.report_to={tracker}: {first_line(error)}. Install it: pip install 'mam-bench[tracking]'"
    )


class _Look(TrainerCallback):
    """A callback that freezes λ during its warm-up, keeps it within bounds after each step and reports progress."""

    def __init__(self, learner: Learner, advance: Callable[[int], None]) -> None:
        self._learner, self._advance = learner, advance

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._advance(state.global_step)
        # The best checkpoint is found by its step: a training may be resumed elsewhere than where it began.
        best = state.best_global_step
        state.best_model_checkpoint = str(Path(str(args.output_dir)) / f"checkpoint-{best}") if best else None
        # transformers does not restore that a resumed training had been stopped early.
        callbacks: dict[str, Any] = cast("dict[str, Any]", state.stateful_callbacks or {})
        control.should_training_stop = bool(
            callbacks.get("TrainerControl", {}).get("args", {}).get("should_training_stop")
        )

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        lambdas = self._learner.lambdas
        if lambdas is not None and state.global_step < self._learner.settings.lam.warmup_steps:
            lambdas.raw.grad = None

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._learner.lambdas is not None:
            self._learner.lambdas.project()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._advance(1)


def quiet() -> None:
    """Limit the messages of accelerate in mam.log to warnings and errors."""
    logging.getLogger("accelerate").setLevel(logging.WARNING)
