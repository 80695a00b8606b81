"""A `transformers.Trainer` that says by name which part of a checkpoint cannot be loaded.

`mam.training.sealing` sees to it that a checkpoint is as it was sealed. What was sealed but is no state of this
training is found here, before the first step: files of other content, of other shapes, or that are no states at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerState
from transformers.trainer_callback import ExportableState

from mam.errors import TrainingError
from mam.memory import is_shortage

OTHER = "it belongs to another training"


class ResumedTrainer(Trainer):
    """A trainer that raises TrainingError for a checkpoint that it cannot go on from. Nothing pickled is run."""

    model: nn.Module

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with _loading(resume_from_checkpoint, "model.safetensors"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        with _loading(resume_from_checkpoint, "trainer_state.json"):
            TrainerState.load_from_json(str(Path(resume_from_checkpoint) / "trainer_state.json"))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raise an error for weights of another model.

        Shared tensors are stored under one name only (`Learner.state_dict`), so the other names may be missing.
        """
        saved = self.model.state_dict()
        wrong = [name for name in load_result.missing_keys if name in saved] + load_result.unexpected_keys
        if wrong:
            raise ValueError(f"{OTHER}: {', '.join(wrong[:3])}")

    def _load_callback_state(self) -> None:
        with _loading(f"{self.args.output_dir}/checkpoint-{self.state.global_step}", "trainer_state.json"):
            steps = [(state.logging_steps, state.eval_steps, state.save_steps) for state in (self.state, self.args)]
            own = [one for one in (*self.callback_handler.callbacks, self.control) if isinstance(one, ExportableState)]
            saved: Any = self.state.stateful_callbacks
            if steps[0] != steps[1] or not is_alike({type(one).__name__: one.state() for one in own}, saved):
                raise ValueError(OTHER)
            super()._load_callback_state()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        optimizer, scheduler = self.optimizer, self.lr_scheduler
        if checkpoint is None or optimizer is None or scheduler is None:
            return
        before = optimizer.state_dict()["param_groups"], scheduler.state_dict()
        with _loading(checkpoint, "optimizer.pt or scheduler.pt"):
            super()._load_optimizer_and_scheduler(checkpoint)
            after = optimizer.state_dict()["param_groups"], scheduler.state_dict()
            if not is_alike(before, after) or not all(has_moments(*entry) for entry in optimizer.state.items()):
                raise ValueError(OTHER)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _loading(checkpoint, "rng_state.pth"):
            super()._load_rng_state(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if checkpoint is None or scaler is None:
            return
        with _loading(checkpoint, "scaler.pt"):
            before = scaler.state_dict()
            scaler.load_state_dict(torch.load(Path(checkpoint) / "scaler.pt", weights_only=True))
            if not is_alike(before, scaler.state_dict()):
                raise ValueError(OTHER)

    def _load_best_model(self) -> None:
        with _loading(self.state.best_model_checkpoint, "model.safetensors"):
            super()._load_best_model()


@contextmanager
def _loading(checkpoint: str | None, name: str) -> Iterator[None]:
    """Raise TrainingError for any failure to load a part of a checkpoint."""
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:  # torch, safetensors and transformers raise many types for a state that is not theirs
        if is_shortage(error):
            raise
        raise TrainingError(
            f"{checkpoint}: {name} cannot be loaded ({_shown(error)}). Remove {checkpoint}; the same command then"
            " continues from an earlier checkpoint, or starts again."
        ) from error


def _shown(error: Exception) -> str:
    """Return the beginning of a message that may have many lines, the first of which says little."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def is_alike(one: Any, other: Any) -> bool:
    """Return whether two states of an optimizer or the like have the same structure, down to the types of values."""
    if isinstance(one, dict):
        same = isinstance(other, dict) and one.keys() == other.keys()
        return same and all(is_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(is_alike, one, other))
    if isinstance(one, float):
        return isinstance(other, float | int) and not isinstance(other, bool) and math.isfinite(other)
    return type(one) is type(other)


def has_moments(parameter: torch.Tensor, state: Any) -> bool:
    """Return whether Adam's state of a parameter fits it."""
    shapes = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
    if not isinstance(state, dict) or state.keys() != shapes.keys():
        return False
    return all(
        isinstance(state[key], torch.Tensor) and state[key].shape == shape and not torch.isnan(state[key]).any()
        for key, shape in shapes.items()
    )
