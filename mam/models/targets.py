"""Targets: speech models taken apart where the merge needs it, before the first merged layer and after.

Shapes: ``b`` clips of a pack, ``t`` frames, ``d`` width. Everything before layer 0 is `front`, the layers are
`advance`, what follows is `transcribe`; together they compute what the model's own forward pass computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, AutoTokenizer

from mam.data.audio import RATE, Wave
from mam.errors import CheckpointError, choices, first_line
from mam.models.attention import AttentionBlock, find_blocks
from mam.models.checkpoints import Checkpoint


@dataclass(frozen=True)
class Hidden:
    """Hidden states of a pack, ``[b, t, d]``, and the true number of frames of each clip, ``[b]``.

    ``whole`` marks input that the encoder must see piece by piece while decoding (Whisper beyond 30 s): ``states``
    are then the log-mel features ``[1, mels, t]`` and no layer can be run ahead.
    """

    states: Tensor
    lengths: Tensor
    whole: bool = False

    @property
    def nbytes(self) -> int:
        """Memory of the states."""
        return self.states.numel() * self.states.element_size()


class SpeechTarget(ABC):
    """A speech recogniser on a device. ``blocks`` are its encoder's Q, K and V, still in fp32."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.model = _load(self.architecture(), checkpoint)
        self.extractor = _auto(AutoFeatureExtractor.from_pretrained, checkpoint)
        self.tokenizer = _auto(AutoTokenizer.from_pretrained, checkpoint)
        if str(getattr(self.extractor, "sampling_rate", None)) != str(RATE):
            raise CheckpointError(f"{checkpoint.id}: its feature extractor does not hear {RATE} Hz, which mam reads.")
        if self.extractor.model_input_names[0] != self.model.main_input_name:
            raise CheckpointError(f"{checkpoint.id}: its feature extractor is not one for {type(self.model).__name__}.")
        self.blocks: list[AttentionBlock] = find_blocks(self.encoder)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @classmethod
    @abstractmethod
    def architecture(cls) -> type[Any]:
        """The transformers class that has the task's head."""

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The module whose attention is merged."""

    @property
    @abstractmethod
    def heads(self) -> int:
        """Attention heads of a layer."""

    @abstractmethod
    def front(self, waves: Sequence[Wave]) -> Hidden:
        """Everything before layer 0. ``waves``: float32 at 16 kHz, of any lengths."""

    @abstractmethod
    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:
        """Run layers ``start`` to ``stop - 1``."""

    @abstractmethod
    def transcribe(self, hidden: Hidden) -> list[str]:
        """From the last layer's output to one raw text a clip."""

    @property
    def depth(self) -> int:
        """Number of encoder layers."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """d."""
        return self.blocks[0].width

    def alone(self, samples: int) -> bool:
        """Whether a clip of so many samples must be a pack of its own."""
        return False

    def padded(self, samples: int) -> int:
        """How many samples a clip of so many costs, before it is padded to its pack."""
        return samples

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move and cast. Cast late: the merge is computed in fp32 from what `blocks` held before."""
        self.model.to(device=device, dtype=dtype)
        self.device, self.dtype = device, dtype


TARGETS: dict[str, Callable[[Checkpoint], SpeechTarget]] = {}  # by model_type in config.json


def speech_target(model_type: str) -> Callable[[type[SpeechTarget]], type[SpeechTarget]]:
    """Register a class as the target for checkpoints of this ``model_type``."""

    def register(family: type[SpeechTarget]) -> type[SpeechTarget]:
        TARGETS[model_type] = family
        return family

    return register


def family_of(checkpoint: Checkpoint) -> Callable[[Checkpoint], SpeechTarget]:
    """The class for this checkpoint. Raises CheckpointError where its architecture is not registered."""
    if checkpoint.model_type not in TARGETS:
        raise CheckpointError(
            f"model.target={checkpoint.id}: model_type {checkpoint.model_type!r} is not a known speech target."
            f" Known: {choices(list(TARGETS))}."
        )
    return TARGETS[checkpoint.model_type]


def load_target(checkpoint: Checkpoint) -> SpeechTarget:
    """Load a speech target in fp32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: an unknown architecture, weights that do not fit it, or a head that is not in the file.
    """
    return family_of(checkpoint)(checkpoint)


def _load(architecture: type[Any], checkpoint: Checkpoint) -> Any:
    """The model with every weight from the file, in fp32 whatever the file's dtype."""
    _ = checkpoint.tensor_files  # a truncated file is named here
    try:
        model, info = architecture.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            attn_implementation="sdpa" if architecture._supports_sdpa else None,
            use_safetensors=checkpoint.is_safetensors,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many kinds; all mean that this folder is not such a model
        raise CheckpointError(
            f"{checkpoint.id}: cannot be loaded as {architecture.__name__}: {first_line(error)}"
        ) from error
    mismatched = [
        f"{name} {tuple(there)} instead of {tuple(wanted)}" for name, there, wanted in info["mismatched_keys"]
    ]
    if mismatched:
        raise CheckpointError(f"{checkpoint.id}: shapes do not fit its config.json: {'; '.join(sorted(mismatched))}.")
    missing = sorted(key for key in info["missing_keys"] if not key.endswith("masked_spec_embed"))  # training only
    if missing:
        raise CheckpointError(
            f"{checkpoint.id}: lacks {len(missing)} weights that {architecture.__name__} needs:"
            f" {choices(missing[:6])}. Zero-shot results of random weights mean nothing;"
            " take a checkpoint that was fine-tuned for the task."
        )
    damaged = sorted(name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all())
    if damaged:
        raise CheckpointError(f"{checkpoint.id}: NaN or infinite values in {choices(damaged[:6])}. Fetch it again.")
    return model.eval()


def _auto(from_pretrained: Callable[..., Any], checkpoint: Checkpoint) -> Any:
    try:
        return from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds for settings that are not what they should be
        raise CheckpointError(
            f"{checkpoint.id}: its tokenizer or feature extractor cannot be loaded: {first_line(error)}"
        ) from error
