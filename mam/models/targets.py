"""Targets: speech and audio models, split before the first merged layer.

Shapes: ``b`` clips of a pack, ``t`` frames (or patches), ``d`` width. Everything before layer 0 is `front` (`listen`,
then `embed`). The layers are `advance`. A readout follows: `transcribe`, `pooled` or `scores`. Together they compute
the model's own forward pass, in training (`losses`, dropout, SpecAugment) as in evaluation. The exception is layer
drop, which is left out because data-parallel training fails with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mam.data.audio import Wave
from mam.errors import ConfigError, choices
from mam.merging.shape import Shape
from mam.models.blocks import AttentionBlock, find_blocks, find_decoder
from mam.models.checkpoints import Checkpoint
from mam.models.hidden import Hidden
from mam.models.prompt import Prompts
from mam.models.readout import Readout
from mam.models.settings import Configured
from mam.registry import refuse_bare, register

BUCKET = 64  # frames; inputs of compiled layers are padded to a multiple of it, so that few shapes occur


class Target(ABC):
    """A speech or audio Transformer on a device; ``blocks`` are its encoder's attention projections, still in fp32."""

    readouts: tuple[Readout, ...] = ("features", "scores")
    pack_seconds: ClassVar[dict[str, float]] = {"cpu": 10.0, "cuda": 160.0}  # padded seconds per pack
    has_one_length = False  # whether all clips have the same number of frames
    is_compiled = False
    takes_language = False  # whether the decoder's prompt can name a language
    prompts: Prompts | None = None  # of such a decoder, if it is loaded
    tokenizer: Any = None  # set if the readout is text

    def __init__(self, checkpoint: Checkpoint, readout: Readout) -> None:
        self.checkpoint, self.readout = checkpoint, readout
        self.remarks = self.check_settings(checkpoint, readout)
        self.model: Any = self.load()
        self.blocks: list[AttentionBlock] = find_blocks(self.encoder)
        self._decoder = [] if self.decoder is None else find_decoder(self.decoder, len(self.blocks))
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @abstractmethod
    def load(self) -> Any:
        """Load the model with the head for ``self.readout``: fp32, on the CPU, in evaluation mode."""

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The module whose attention is merged by default."""

    @property
    def decoder(self) -> nn.Module | None:
        """The module whose self-attention and cross-attention may be merged too; None without one."""
        return None

    @property
    def all_blocks(self) -> list[AttentionBlock]:
        """The layers of encoder and decoder, as `Shape` numbers them."""
        return [*self.blocks, *self._decoder]

    def blocks_of(self, where: str) -> list[AttentionBlock]:
        """Return the layers of the stacks that ``where`` names; MergeError if there is no decoder."""
        blocks = self.all_blocks
        return [blocks[layer] for layer in self.shape.layers_of(where)]

    @property
    @abstractmethod
    def heads(self) -> int:
        """The number of attention heads per layer."""

    @abstractmethod
    def listen(self, waves: Sequence[Wave]) -> Hidden:
        """Run the front-end, such as a filterbank, which fine-tuning freezes by default; ``states`` are ``[b, t, c]``.

        ``waves`` are float32 at 16 kHz, of any lengths.
        """

    @abstractmethod
    def embed(self, heard: Hidden) -> Hidden:
        """Compute the input of layer 0 from the front-end's output.

        The steps are projection, positions and, in training, SpecAugment.
        """

    def front(self, waves: Sequence[Wave]) -> Hidden:
        """Compute everything before layer 0."""
        return self.embed(self.listen(waves))

    @property
    def frontend(self) -> list[nn.Module]:
        """The modules that fine-tuning freezes by default."""
        return []

    @abstractmethod
    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:
        """Run layers ``start`` to ``stop - 1``."""

    def compile(self) -> None:
        """Compile the layers with torch.compile; `bucketed` then keeps the number of shapes small."""
        for layer in self.encoder.layers:  # type: ignore[union-attr]
            layer.compile()
        self.is_compiled = True

    def bucketed(self, hidden: Hidden) -> Hidden:
        """Pad states to a multiple of `BUCKET` frames if layers are compiled."""
        missing = -hidden.states.shape[1] % BUCKET
        if not self.is_compiled or self.has_one_length or hidden.whole or not missing:
            return hidden
        return Hidden(nn.functional.pad(hidden.states, (0, 0, 0, missing)), hidden.lengths)

    @abstractmethod
    def recompute_layers(self) -> None:
        """Keep only the input of each layer for the backward pass (gradient checkpointing)."""

    @abstractmethod
    def last(self, hidden: Hidden) -> Hidden:
        """Return the encoder's output: apply what follows its last layer, such as a norm."""

    def in_windows(self, samples: int) -> bool:
        """Return whether a recording of this many samples is decoded piece by piece, with timestamps."""
        return False

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters that a CTC head can write; empty for other targets."""
        return ()

    def transcribe(self, hidden: Hidden) -> list[str]:
        """Decode the last layer's output into one raw text per clip, for targets that support ``text``."""
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def spell(self, text: str, normalise: Callable[[str], str]) -> tuple[list[int], list[str]]:
        """Return the tokens of a transcript, for training, and the characters missing from the vocabulary."""
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def token_capacity(self, samples: int) -> int | None:
        """Return the most tokens that a clip of this many samples can be aligned with; None: no limit.

        Repeated tokens count twice.
        """
        return None

    @property
    def most_tokens(self) -> int | None:
        """The most tokens that a transcript may have; None: no limit."""
        return None

    def instruct(self, language: str | None, task: str) -> None:  # noqa: B027
        """Set the language and task of the decoder; does nothing without a decoder or a language."""

    def tongues(self, hidden: Hidden) -> Tensor:
        """Return the probability of every language of `prompts`, ``[b, languages]``, from the last layer's output."""
        raise TypeError(f"{type(self).__name__} does not tell languages apart")

    def losses(self, hidden: Hidden, tokens: Sequence[list[int]], smoothing: float) -> Tensor:
        """Return one loss per clip, ``[b]``, from the last layer's output.

        The loss is the negative log-likelihood of the transcript per token. ``smoothing`` is label smoothing; CTC has
        none.
        """
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def anchors(self, hidden: Hidden) -> list[Any]:
        """Return the target's decisions, one entry per clip, which fix the decisions that `doubts` measures."""
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def doubts(self, hidden: Hidden, anchors: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return the mean entropy of each clip's decisions in nats, and the share that are now silence, ``[b]`` each.

        ``anchors`` come from the unmerged target. The decisions are therefore always the same, so that a merge cannot
        reduce its entropy by writing less.
        """
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def new_head(self, classes: int) -> nn.Module:
        """Create an untrained classifier of pooled features that `save` supports, ``[b, d]`` -> ``[b, classes]``."""
        return nn.Linear(self.width, classes)

    @abstractmethod
    def save(self, folder: Path, head: nn.Module | None = None, classes: Sequence[str] = ()) -> None:
        """Write a plain checkpoint for transformers' ``from_pretrained`` (BEATs: for the original code).

        A ``head`` from `new_head` that was trained for ``classes`` becomes the checkpoint's own.
        """

    def pooled(self, hidden: Hidden) -> Tensor:
        """Average the encoder's output over real frames, fp32 ``[b, d]``."""
        last = self.last(hidden)
        return last.mean(last.states)

    @abstractmethod
    def scores(self, hidden: Hidden) -> Tensor:
        """Return the scores of the checkpoint's own classes, fp32 ``[b, classes]``, in the order of `labels`."""

    @property
    @abstractmethod
    def labels(self) -> list[str]:
        """The names of the checkpoint's own classes; CheckpointError if it has none."""

    @classmethod
    def limits(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[int, int | None]:
        """Return the minimum and maximum number of samples per clip; None: no maximum."""
        return 0, None

    @classmethod
    def working_bytes(cls, checkpoint: Checkpoint, samples: int) -> int:
        """Return at least how much memory the layer that needs most takes for one clip; 0 if that is not known."""
        return 0

    @classmethod
    def caveats(cls, checkpoint: Checkpoint, parts: Sequence[str]) -> tuple[str, ...]:
        """Return the side effects of merging ``parts`` in such a model, one sentence each."""
        return ()

    @classmethod
    def check_settings(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[str, ...]:
        """Compare the files beside the weights with each other, without reading weights; missing files are ignored.

        Returns:
            A sentence for every unusual way in which the files are read.

        Raises:
            CheckpointError: The files contradict each other.
        """
        return ()

    @classmethod
    def reads_query(cls, checkpoint: Configured) -> str | None:
        """Return what reads the projected query besides its dot product with the keys; None if nothing does."""
        return None

    @property
    def shape(self) -> Shape:
        """The depth, width and number of heads, and the depth of the decoder."""
        return Shape(self.depth, self.width, self.heads, len(self._decoder) // 2)

    @property
    def depth(self) -> int:
        """The number of encoder layers."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """The width d."""
        return self.blocks[0].width

    def alone(self, samples: int) -> bool:
        """Return whether a clip of this many samples needs a pack of its own."""
        return False

    def padded(self, samples: int) -> int:
        """Return the number of samples to which the model pads a clip by itself, before it is padded to its pack."""
        return samples

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move and cast the model; cast only after merging, which computes in fp32 from ``blocks``."""
        self.model.to(device=device, dtype=dtype)
        self.device, self.dtype = device, dtype


TARGETS: dict[str, type[Target]] = {}  # by model_type in config.json


def target_family(model_type: str) -> Callable[[type[Target]], type[Target]]:
    """Register a class as the target for checkpoints of this ``model_type``."""

    refuse_bare("target_family", model_type)

    def add(family: type[Target]) -> type[Target]:
        lacking = getattr(family, "__abstractmethods__", ())
        if lacking:
            raise ConfigError(f"target family={model_type}: {family.__name__} lacks {choices(list(lacking))}")
        register("target family", model_type, family, (TARGETS, family))
        return family

    return add
