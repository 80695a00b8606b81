"""Targets: speech and audio models taken apart where the merge needs it, before the first merged layer and after.

Shapes: ``b`` clips of a pack, ``t`` frames (or patches), ``d`` width. Everything before layer 0 is `front` (`listen`,
then `embed`), the layers are `advance`, what follows is a readout: `transcribe`, `pooled` or `scores`. Together they
compute what the model's own forward pass computes, in training (`losses`, dropout, SpecAugment) as in evaluation; only
layer drop is left out, under which data-parallel training fails.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mam.data.audio import Wave
from mam.errors import CheckpointError, choices
from mam.merge.shape import Shape
from mam.models.blocks import AttentionBlock, find_blocks
from mam.models.checkpoints import Checkpoint
from mam.models.hidden import Hidden as Hidden
from mam.models.prompt import Prompts
from mam.models.refusals import refuse_unmergeable

# What is read off a target: a transcript; pooled features, for a probe; the scores of the checkpoint's own classes.
Readout = Literal["text", "features", "scores"]
BUCKET = 64  # frames: compiled layers see lengths that are multiples of it, so that few shapes occur


class Target(ABC):
    """A speech or audio Transformer on a device. ``blocks`` are its encoder's Q, K and V, still in fp32."""

    readouts: tuple[Readout, ...] = ("features", "scores")
    pack_seconds: ClassVar[dict[str, float]] = {"cpu": 10.0, "cuda": 160.0}  # padded seconds that suit a device
    has_one_length = False  # whether every clip makes as many frames
    is_compiled = False
    takes_language = False  # whether its decoder is told a language
    prompts: Prompts | None = None  # of such a decoder, where it is read
    tokenizer: Any = None  # of what is read as text

    def __init__(self, checkpoint: Checkpoint, readout: Readout) -> None:
        self.checkpoint, self.readout = checkpoint, readout
        self.remarks = self.check_settings(checkpoint, readout)
        self.model: Any = self.load()
        self.blocks: list[AttentionBlock] = find_blocks(self.encoder)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @abstractmethod
    def load(self) -> Any:
        """The model with the head that ``self.readout`` needs: fp32, on the CPU, in evaluation mode."""

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The module whose attention is merged."""

    @property
    @abstractmethod
    def heads(self) -> int:
        """Attention heads of a layer."""

    @abstractmethod
    def listen(self, waves: Sequence[Wave]) -> Hidden:
        """The front-end: what fine-tuning leaves alone by default, such as a filterbank. ``states`` ``[b, t, c]``.

        ``waves``: float32 at 16 kHz, of any lengths.
        """

    @abstractmethod
    def embed(self, heard: Hidden) -> Hidden:
        """From the front-end to the input of layer 0: projection, positions; SpecAugment while training."""

    def front(self, waves: Sequence[Wave]) -> Hidden:
        """Everything before layer 0."""
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
        """States padded to a multiple of `BUCKET` frames where layers are compiled, else as they are."""
        missing = -hidden.states.shape[1] % BUCKET
        if not self.is_compiled or self.has_one_length or hidden.whole or not missing:
            return hidden
        return Hidden(nn.functional.pad(hidden.states, (0, 0, 0, missing)), hidden.lengths)

    @abstractmethod
    def recompute_layers(self) -> None:
        """Keep only the input of each layer for the way back (gradient checkpointing)."""

    @abstractmethod
    def last(self, hidden: Hidden) -> Hidden:
        """The encoder's output: what is left of it after its last layer, such as a norm."""

    def in_windows(self, samples: int) -> bool:
        """Tell whether a recording of so many samples is decoded piece by piece, with timestamps."""
        return False

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters that a CTC head writes; of other targets none."""
        return ()

    def transcribe(self, hidden: Hidden) -> list[str]:
        """From the last layer's output to one raw text a clip; of targets that read ``text``."""
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def spell(self, text: str, normalise: Callable[[str], str]) -> tuple[list[int], list[str]]:
        """Tokens of a transcript, for training, and the characters that the vocabulary lacks."""
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def room(self, samples: int) -> int | None:
        """The most tokens, repeats counted twice, that a clip of so many samples can be taught; None: any number."""
        return None

    @property
    def most_tokens(self) -> int | None:
        """The most tokens that a transcript may have; None: any number."""
        return None

    def instruct(self, language: str | None, task: str) -> None:  # noqa: B027
        """Tell the decoder its language and task; nothing where there is no decoder, or no language to tell."""

    def tongues(self, hidden: Hidden) -> Tensor:
        """Probability of every language of `prompts`, ``[b, languages]``, from the last layer's output."""
        raise TypeError(f"{type(self).__name__} does not tell languages apart")

    def losses(self, hidden: Hidden, tokens: Sequence[list[int]], smoothing: float) -> Tensor:
        """One loss a clip, ``[b]``: negative log-likelihood of its transcript, a token, from the last layer's output.

        ``smoothing`` is of the labels; CTC has none.
        """
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def anchors(self, hidden: Hidden) -> list[Any]:
        """What the target says, one entry a clip; it fixes of which decisions `doubts` asks later."""
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def doubts(self, hidden: Hidden, anchors: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Of each clip the mean entropy of its decisions in nats, and the share that are silence now, ``[b]`` each.

        ``anchors`` are what the unmerged target said: the decisions are always the same ones, so that a merge cannot
        lower its doubt by saying less.
        """
        raise TypeError(f"{type(self).__name__} does not transcribe")

    def new_head(self, classes: int) -> nn.Module:
        """An untrained classifier of pooled features, ``[b, d]`` -> logits ``[b, classes]``, that `save` can save."""
        return nn.Linear(self.width, classes)

    @abstractmethod
    def save(self, folder: Path, head: nn.Module | None = None, classes: Sequence[str] = ()) -> None:
        """Write a plain checkpoint: what transformers' ``from_pretrained`` (of BEATs: the original code) reads.

        A ``head`` from `new_head` that was trained for ``classes`` becomes the checkpoint's own.
        """

    def pooled(self, hidden: Hidden) -> Tensor:
        """The encoder's output averaged over real frames, fp32 ``[b, d]``."""
        last = self.last(hidden)
        return last.mean(last.states)

    @abstractmethod
    def scores(self, hidden: Hidden) -> Tensor:
        """Scores of the checkpoint's own classes, fp32 ``[b, classes]``, in the order of `labels`."""

    @property
    @abstractmethod
    def labels(self) -> list[str]:
        """Names of the checkpoint's own classes. Raises CheckpointError where it names none."""

    @classmethod
    def limits(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[int, int | None]:
        """The least and the most samples that a clip may have; None: any length."""
        return 0, None

    @classmethod
    def caveats(cls, checkpoint: Checkpoint, parts: Sequence[str]) -> tuple[str, ...]:
        """What else a merge of ``parts`` moves in such a model, one sentence each."""
        return ()

    @classmethod
    def check_settings(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[str, ...]:
        """Compare the files beside the weights with each other; no weights are read, and what is absent is let be.

        Returns how they are read where that is not the usual way, one sentence each. Raises CheckpointError where
        they do not fit together.
        """
        return ()

    @classmethod
    def reads_query(cls, checkpoint: Checkpoint) -> str | None:
        """What reads a head's projected query beside its dot product with the keys; None where nothing does."""
        return None

    @property
    def shape(self) -> Shape:
        """Depth, width and heads."""
        return Shape(self.depth, self.width, self.heads)

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


TARGETS: dict[str, type[Target]] = {}  # by model_type in config.json


def target(model_type: str) -> Callable[[type[Target]], type[Target]]:
    """Register a class as the target for checkpoints of this ``model_type``."""

    def register(family: type[Target]) -> type[Target]:
        TARGETS[model_type] = family
        return family

    return register


def family_of(checkpoint: Checkpoint, readout: Readout) -> type[Target]:
    """The class for this checkpoint. Raises CheckpointError where there is none that has ``readout``."""
    known = [model_type for model_type, family in TARGETS.items() if readout in family.readouts]
    if checkpoint.model_type not in known:
        what = {"text": "speech recogniser", "features": "target", "scores": "classifier"}[readout]
        raise CheckpointError(
            f"model.target={checkpoint.id}: model_type {checkpoint.model_type!r} is not a known {what}."
            f" Known: {choices(known)}."
        )
    return TARGETS[checkpoint.model_type]


def load_target(checkpoint: Checkpoint, readout: Readout = "text") -> Target:
    """Load a target in fp32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: an unknown architecture, quantised weights, weights that do not fit it, or a head that is not
            in the file.
    """
    family = family_of(checkpoint, readout)
    refuse_unmergeable(checkpoint)
    return family(checkpoint, readout)
