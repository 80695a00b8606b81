"""Recording the inputs of a model's projections while it runs, for moments of activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mam.data.audio import RATE, Wave
from mam.errors import DataError
from mam.models.blocks import AttentionBlock
from mam.models.targets import Target

ProjectionInputs = dict[tuple[int, str], Tensor]  # (layer, part) -> its input, [t, d], fp64
Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]


class InputRecorder:
    """A recorder of the inputs of every projection of a model.

    Some attention modules use Q, K and V without calling them. For these the input of the owning module is recorded.
    """

    def __init__(self, blocks: Sequence[AttentionBlock]) -> None:
        self._blocks = blocks
        self._states: dict[tuple[int, str], Tensor] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record while the model runs on one input; earlier recordings are discarded."""
        self._states.clear()
        hooks = []
        try:
            for block in self._blocks:
                # In this order, so that a projection's own input overwrites that of its owner.
                hooks.append(self._attach(block.owner, block.layer, ("q", "k", "v")))
                hooks += [self._attach(block.projection(part), block.layer, (part,)) for part in block.attention]
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def taken(self, frames: int) -> ProjectionInputs:
        """Return the recorded inputs, cut to the first ``frames``, which are not padding."""
        return {place: states[:frames].detach().to("cpu", torch.float64) for place, states in self._states.items()}

    def _attach(self, module: nn.Module, layer: int, parts: Sequence[str]) -> Any:
        return module.register_forward_pre_hook(self._hook(layer, parts), with_kwargs=True)

    def _hook(self, layer: int, parts: Sequence[str]) -> Hook:
        def hook(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
            states = positional[0] if positional else named["hidden_states"]
            for part in parts:
                self._states[layer, part] = states[0]

        return hook


def inputs_of_target(target: Target, waves: Sequence[Wave]) -> Iterator[ProjectionInputs]:
    """Yield the inputs of the target's projections, recording by recording.

    Recordings that its encoder takes in pieces are left out.

    Raises:
        DataError: a recording that is too short or too long for the target.
    """
    recorder = InputRecorder(target.blocks)
    for number, wave in enumerate(waves, 1):
        _refuse_length(target, wave, number)
        hidden = target.front([wave])
        if hidden.whole:
            continue
        with recorder.recording():
            target.advance(hidden, 0, target.depth)
        yield recorder.taken(min(int(hidden.lengths[0]), hidden.states.shape[1]))


def _refuse_length(target: Target, wave: Wave, number: int) -> None:
    least, most = type(target).limits(target.checkpoint, target.readout)
    if len(wave) >= least and (most is None or len(wave) <= most):
        return
    bounds = f"at least {least / RATE:.3f}" + ("" if most is None else f" and at most {most / RATE:.3f}")
    raise DataError(
        f"calibration: recording {number} is {len(wave) / RATE:.3f} s long, but {target.checkpoint.id} needs {bounds}"
        " s. Use other recordings"
    )
