"""The module that is trained: a target, λ if it is learnt, a head if the task needs one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mam.config.training import TrainConfig
from mam.errors import TrainingError
from mam.merging.lambdas import Lambdas
from mam.models.hidden import Hidden
from mam.models.targets import Target
from mam.training.lessons import Lessons


class Learner(nn.Module):
    """A module whose forward pass returns the training loss. A checkpoint holds what is registered here."""

    def __init__(
        self,
        target: Target,
        lessons: Lessons,
        train: TrainConfig,
        head: nn.Module | None,
        lambdas: Lambdas | None,
        where: str = "encoder",
    ) -> None:
        """Choose what is trained; ``where`` names the stacks of ``train.trainable=attention``."""
        super().__init__()
        self.model, self.head, self.lambdas = target.model, head, lambdas
        self.target, self.lessons, self.settings = target, lessons, train
        self._choose_trainable(where)

    @property
    def may_rest(self) -> bool:
        """True if a step may leave parameters without a gradient.

        These are SpecAugment's embedding and the layers that a new head makes superfluous.
        """
        needless = ("masked_spec_embed", *(("decoder.", "predictor.") if self.head is not None else ()))
        names = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        return any(word in name for name in names for word in needless)

    def _choose_trainable(self, where: str) -> None:
        chosen, train = self.settings.trainable, self.settings
        self.model.requires_grad_(chosen == "all")
        if chosen == "attention":
            for block in self.target.blocks_of(where):
                for linear in block.attention.values():
                    linear.requires_grad_(True)
        if chosen == "head" and self.head is None:
            task_head = self.model.lm_head if hasattr(self.model, "lm_head") else self.model.proj_out
            task_head.requires_grad_(True)
        if train.freeze_front:
            for module in self.target.frontend:
                module.requires_grad_(False)

    def forward(self, states: Tensor, lengths: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Return the mean loss of the clips plus the pull of λ.

        Args:
            states: output of the frozen front-end ``[b, t, c]``, or waveforms ``[b, samples, 1]`` if it is trained too.
            lengths: true ``t`` of each clip, ``[b]``.
            index: position of each clip in the lessons, ``[b]``.

        Raises:
            TrainingError: a loss is not a number. The message names the clips.
        """
        lengths = lengths.cpu()  # the trainer moves every input to the device
        if self.settings.freeze_front:
            inputs = Hidden(states, lengths)
        else:
            waves = [row[:n, 0].cpu().numpy() for row, n in zip(states, lengths.tolist(), strict=True)]
            inputs = self.target.listen(waves)
        if self.training and self.settings.time_mask:
            inputs = Hidden(_time_masked(inputs, self.settings.time_mask), inputs.lengths)
        hidden = self.target.advance(self.target.embed(inputs), 0, self.target.depth)
        clips = index.tolist()
        losses = self.losses(hidden, [self.lessons.answers[i] for i in clips], self.settings.label_smoothing)
        if not torch.isfinite(losses).all():
            names = [
                self.lessons.id(i) for i, loss in zip(clips, losses.tolist(), strict=True) if not math.isfinite(loss)
            ]
            raise TrainingError(
                f"the loss is NaN or infinite for {', '.join(names)}. Lower train.learning_rate, or check these clips."
            )
        loss = losses.mean()
        if self.lambdas is not None and self.settings.lam.pull:
            loss = loss + self.settings.lam.pull * self.lambdas.pull()
        return {"loss": loss}

    def losses(self, hidden: Hidden, answers: Sequence[list[int]], smoothing: float) -> Tensor:
        """Return one loss per clip, ``[b]``, from the last layer's output."""
        if self.head is None:
            return self.target.losses(hidden, answers, smoothing)
        truth = torch.tensor([answer[0] for answer in answers], device=hidden.states.device)
        logits = self.head(self.target.pooled(hidden)).float()
        return nn.functional.cross_entropy(logits, truth, reduction="none", label_smoothing=smoothing)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the state without duplicates: tensors shared by layers, such as BEATs' position table, occur once."""
        everything: dict[str, Any] = super().state_dict(*args, **kwargs)
        first = {tensor.data_ptr(): name for name, tensor in reversed(everything.items())}
        return {name: tensor for name, tensor in everything.items() if first[tensor.data_ptr()] == name}

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups by learning rate and weight decay: λ, the new head, and the model layer by layer.

        Biases, norms and λ have no weight decay.
        """
        train, parameters_by_rate = self.settings, dict[tuple[float, float], list[nn.Parameter]]()
        head_rate = train.learning_rate if train.head_learning_rate is None else train.head_learning_rate
        stack = self._stack()
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            decay = 0.0 if parameter.ndim < 2 else train.weight_decay
            if name.startswith("lambdas."):
                rate, decay = train.lam.learning_rate, 0.0
            elif name.startswith("head."):
                rate = head_rate
            else:
                rate = train.learning_rate * train.layer_decay ** self._distance(name, stack)
            parameters_by_rate.setdefault((rate, decay), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in parameters_by_rate.items()
        ]

    def _stack(self) -> str:
        """Return the prefix of the encoder layers' names, up to and including the dot before the number."""
        owner = self.target.blocks[0].owner
        name: str = next(name for name, module in self.named_modules() if module is owner)
        return name[: name.index(".0.") + 1]

    def _distance(self, name: str, stack: str) -> int:
        """Return how often ``layer_decay`` applies: 0 for heads and decoders, 1 for the last layer, more below."""
        match = re.match(re.escape(stack) + r"(\d+)\.", name)
        if match:
            return self.target.depth - int(match[1])
        return 0 if any(above in name for above in ("lm_head.", "proj_out.", "decoder.")) else self.target.depth + 1


def _time_masked(inputs: Hidden, largest: float) -> Tensor:
    """Set one span of each clip to zero, the mean of normalised features. It covers up to ``largest`` of the frames."""
    states = inputs.states.clone()
    for row, n in zip(states, inputs.lengths.tolist(), strict=True):
        width = int(torch.rand(()) * largest * n)
        start = int(torch.rand(()) * (n - width + 1))
        row[start : start + width] = 0
    return states
