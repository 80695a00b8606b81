"""The effect of a merge on an encoder's attention, on a small fixed batch: spread of weights and scale of logits.

Only the content part of the logits is measured, q·k/√d_h; positions and masks are left out. Of a long clip only the
first frames are measured, and they block by block, since ``t`` frames have ``t²`` logits. Shapes: ``h`` heads, ``d_h``
width of a head.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mam.data.store import AudioStore
from mam.errors import first_line
from mam.models.hidden import Hidden
from mam.models.targets import Target

log = logging.getLogger("mam")
States = Callable[[int], tuple[int, Hidden]]
FRAMES = 1500  # of a clip are measured at most; 30 s of HuBERT or Whisper
BLOCK = 250  # queries whose logits are computed at a time
CLIPS = 3  # number of clips: the shortest of the corpus, run one by one
UNIFORM = 0.999  # share of the maximal entropy from which on attention counts as uniform
EXTREME = 0.9  # λ from which on little of the target is left


@dataclass(frozen=True)
class AttentionStatistics:
    """Statistics of every layer.

    Attributes:
        entropy: mean entropy of the attention over log t; 1 is uniform.
        scale: standard deviation of the logits.
        frames: the number of frames of the longest clip that was measured; 0 if none was.
        failure: why nothing could be measured, or "".
    """

    entropy: list[float]
    scale: list[float]
    frames: int = 0
    failure: str = ""


@dataclass(frozen=True)
class AttentionChange:
    """Attention of the unmerged and of the merged target; ``layers`` are those that the plan selects.

    Layers of a decoder are not measured.
    """

    before: AttentionStatistics
    after: AttentionStatistics
    layers: list[int]

    @property
    def table(self) -> list[list[Any]]:
        """Rows for `attention.csv`, the heading first."""
        heading = ["layer", "entropy_before", "entropy_after", "scale_before", "scale_after", "frames"]
        columns = (self.before.entropy, self.after.entropy, self.before.scale, self.after.scale)
        by_layer = enumerate(zip(*columns, strict=True))
        frames = self.before.frames
        return [heading, *([layer, *(round(value, 6) for value in values), frames] for layer, values in by_layer)]

    def findings(self, lams: Sequence[float]) -> list[str]:
        """Return sentences on what could not be measured, λ that leave little of the target, and uniform attention."""
        failures = dict.fromkeys(filter(None, (self.before.failure, self.after.failure)))
        sentences = [f"attention could not be measured: {failure}" for failure in failures]
        extreme = [layer for layer in self.layers if lams[layer] >= EXTREME]
        if extreme:
            sentences.append(
                f"λ is {EXTREME} or more in {_listed(extreme)}: little of the target's attention is left there"
            )
        measured = [layer for layer in self.layers if layer < len(self.after.entropy)]
        flat = [layer for layer in measured if self.after.entropy[layer] >= UNIFORM > self.before.entropy[layer]]
        if flat:
            sentences.append(
                f"attention in {_listed(flat)} has become uniform, which means that all frames get the same weight"
            )
        return sentences


def measure(
    target: Target, audio: AudioStore, hidden: States | None = None, below: AttentionStatistics | None = None
) -> AttentionStatistics:
    """Measure as `_measured` does; what fails is noted in the statistics, since no diagnostic may lose a run."""
    try:
        return _measured(target, audio, hidden, below)
    except Exception as error:  # of whatever kind; its traceback is in the log
        log.exception("attention could not be measured")
        return _nothing(target, first_line(error)[:200])


@torch.inference_mode()
def _measured(
    target: Target, audio: AudioStore, hidden: States | None = None, below: AttentionStatistics | None = None
) -> AttentionStatistics:
    """Run the shortest clips through the target in its current state and measure each layer's queries and keys.

    Args:
        target: unmerged, merged or trained.
        audio: the clips to take the shortest from.
        hidden: clip -> the first layer to run and the states at its input; by default all layers are run.
        below: known statistics of the layers below that one.
    """
    shortest = sorted(range(len(audio.samples)), key=lambda i: (audio.samples[i], i))[:CLIPS]
    seen: dict[int, Tensor] = {}  # input of each layer's attention, [1, t, d]

    def watch(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Any]], None]:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any]) -> None:
            seen[layer] = (inputs[0] if inputs else named["hidden_states"])[:, :FRAMES].clone()

        return note

    hooks = [block.owner.register_forward_pre_hook(watch(block.layer), with_kwargs=True) for block in target.blocks]
    measured, longest = [], 0
    try:
        for i in shortest:
            first, states = (0, target.front([audio.wave(i)])) if hidden is None else hidden(i)
            if states.whole:
                continue
            target.advance(states, first, target.depth)
            blocks = target.blocks[first:]
            statistics = [
                _logit_statistics(block.q(seen[block.layer]), block.k(seen[block.layer]), target.heads)
                for block in blocks
            ]
            by_layer = torch.stack(statistics).double().cpu()  # [layers, 2]; one transfer from the GPU
            frames = seen[blocks[0].layer].shape[1]
            longest = max(longest, frames)
            measured.append(by_layer / torch.tensor([math.log(max(2, frames)), 1.0], dtype=torch.float64))
    finally:
        for hook in hooks:
            hook.remove()
    if not measured:
        return _nothing(target)
    means = torch.stack(measured).mean(0)  # [layers, 2]
    known = AttentionStatistics([], []) if below is None else below
    missing = target.depth - len(means)  # layers below the first one run
    return AttentionStatistics(
        known.entropy[:missing] + means[:, 0].tolist(), known.scale[:missing] + means[:, 1].tolist(), longest
    )


def _nothing(target: Target, failure: str = "") -> AttentionStatistics:
    return AttentionStatistics([math.nan] * target.depth, [math.nan] * target.depth, failure=failure)


def _logit_statistics(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """Return entropy and scale of the logits, ``[2]``, from queries and keys ``[1, t, d]`` of one clip."""
    q, k = (side[0].float().view(side.shape[1], heads, -1).transpose(0, 1) for side in (q, k))  # [h, t, d_h]
    sums = torch.zeros(3, dtype=torch.float64, device=q.device)  # of entropies, of logits and of their squares
    for block in torch.split(q, BLOCK, dim=1):
        logits = block @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # [h, BLOCK, t]
        weights = logits.softmax(-1)
        entropies = -(weights * weights.clamp_min(1e-30).log()).sum(-1)
        sums += torch.stack([each.sum(dtype=torch.float64) for each in (entropies, logits, logits.double() ** 2)])
    rows = heads * q.shape[1]
    mean = sums[1] / (rows * k.shape[1])
    variance = (sums[2] / (rows * k.shape[1]) - mean**2).clamp_min(0)
    return torch.stack([sums[0] / rows, variance.sqrt()])


def _listed(layers: Sequence[int]) -> str:
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"
