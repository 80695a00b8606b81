"""Targets: speech models taken apart where the merge needs it, before the first merged layer and after.

Shapes: ``b`` clips of a pack, ``t`` frames, ``d`` width. Everything before layer 0 is `front`, the layers are
`advance`, what follows is `transcribe`; together they compute what the model's own forward pass computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, AutoTokenizer, HubertForCTC, WhisperForConditionalGeneration
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput

from mam.data.audio import RATE, Wave
from mam.errors import CheckpointError, MamError, choices
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
        if self.extractor.sampling_rate != RATE:
            raise CheckpointError(f"{checkpoint.id}: hears {self.extractor.sampling_rate} Hz; mam reads {RATE} Hz.")
        self.blocks: list[AttentionBlock] = find_blocks(self.encoder)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @staticmethod
    @abstractmethod
    def architecture() -> type[Any]:
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


class HubertCTC(SpeechTarget):
    """HuBERT with a CTC head, both variants of the front-end (group norm: base; layer norm: large)."""

    @staticmethod
    def architecture() -> type[Any]:  # noqa: D102
        return HubertForCTC

    @property
    def encoder(self) -> nn.Module:  # noqa: D102
        return self.model.hubert.encoder  # type: ignore[no-any-return]

    @property
    def heads(self) -> int:  # noqa: D102
        return int(self.model.config.num_attention_heads)

    def front(self, waves: Sequence[Wave]) -> Hidden:
        """Normalised waveform -> convolutions -> projection -> positional convolution (-> norm if post-norm).

        Padding would enter the statistics of group norm; such front-ends run clip by clip at the true length.
        """
        normalised = [self.extractor(wave, sampling_rate=RATE).input_values[0] for wave in waves]
        clips = [torch.from_numpy(np.asarray(clip, dtype=np.float32)).to(self.device, self.dtype) for clip in normalised]
        convolve = self.model.hubert.feature_extractor
        lengths = torch.tensor([self._frames(len(clip)) for clip in clips], device=self.device)
        if self.model.config.feat_extract_norm == "group":
            features = nn.utils.rnn.pad_sequence([convolve(clip[None])[0].T for clip in clips], batch_first=True)
        else:
            features = convolve(nn.utils.rnn.pad_sequence(clips, batch_first=True)).transpose(1, 2)  # [b, t, d]
        states = self.model.hubert.feature_projection(features)
        states = states * _real_frames(lengths, states.shape[1])[..., None]  # padding is silent for the convolution
        encoder = self.model.hubert.encoder
        states = states + encoder.pos_conv_embed(states)
        if not self.model.config.do_stable_layer_norm:
            states = encoder.layer_norm(states)
        return Hidden(states, lengths)

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        if start == stop:
            return hidden
        states, encoder = hidden.states, self.model.hubert.encoder
        mask = None
        if int(hidden.lengths.min()) < states.shape[1]:
            mask = create_bidirectional_mask(
                config=self.model.config,
                inputs_embeds=states,
                attention_mask=_real_frames(hidden.lengths, states.shape[1]),
            )
        for layer in encoder.layers[start:stop]:
            states = layer(states, attention_mask=mask)
        return Hidden(states, hidden.lengths)

    def logits(self, hidden: Hidden) -> Tensor:
        """``[b, t, vocabulary]`` from the last layer's output."""
        states = hidden.states
        if self.model.config.do_stable_layer_norm:
            states = self.model.hubert.encoder.layer_norm(states)
        logits: Tensor = self.model.lm_head(states)
        return logits

    def transcribe(self, hidden: Hidden) -> list[str]:  # noqa: D102
        best = self.logits(hidden).argmax(-1).cpu()  # [b, t]
        return [self._text(ids[:n].tolist()) for ids, n in zip(best, hidden.lengths.tolist(), strict=True)]

    def _text(self, ids: Sequence[int]) -> str:
        """Greedy CTC on ids: repeats collapse, blanks go, so that a blank keeps double letters apart ("HELLO").

        transformers' own decoding merges them when special tokens are skipped (5.23).
        """
        blank, special = self.model.config.pad_token_id, set(self.tokenizer.all_special_ids)
        delimiter = self.tokenizer.convert_tokens_to_ids(self.tokenizer.word_delimiter_token)
        collapsed = [i for n, i in enumerate(ids) if n == 0 or i != ids[n - 1]]
        kept = [i for i in collapsed if i != blank and (i == delimiter or i not in special)]
        letters = [" " if i == delimiter else self.tokenizer.convert_ids_to_tokens(i) for i in kept]
        return " ".join("".join(letters).split())

    def _frames(self, samples: int) -> int:
        return int(self.model._get_feat_extract_output_lengths(samples))


class WhisperSpeech(SpeechTarget):
    """Whisper: the encoder is merged, the decoder writes greedily. Up to 30 s at once, longer recordings in windows."""

    @staticmethod
    def architecture() -> type[Any]:  # noqa: D102
        return WhisperForConditionalGeneration

    @property
    def encoder(self) -> nn.Module:  # noqa: D102
        return self.model.model.encoder  # type: ignore[no-any-return]

    @property
    def heads(self) -> int:  # noqa: D102
        return int(self.model.config.encoder_attention_heads)

    def alone(self, samples: int) -> bool:  # noqa: D102
        return samples > self.extractor.n_samples

    def padded(self, samples: int) -> int:  # noqa: D102
        return max(samples, int(self.extractor.n_samples))

    def front(self, waves: Sequence[Wave]) -> Hidden:
        """Log-mel of 30 s (padded with silence, as Whisper was trained) -> two convolutions + positions.

        A recording beyond 30 s stays log-mel at its whole length and goes through `transcribe` as it is.
        """
        if len(waves) == 1 and self.alone(len(waves[0])):
            long = self.extractor(waves[0], sampling_rate=RATE, truncation=False, padding="longest", return_tensors="pt")
            features = long.input_features.to(self.device, self.dtype)
            return Hidden(features, torch.tensor([features.shape[-1]]), whole=True)
        features = self.extractor(list(waves), sampling_rate=RATE, return_tensors="pt").input_features
        encoder = self.model.model.encoder
        states = nn.functional.gelu(encoder.conv1(features.to(self.device, self.dtype)))
        states = nn.functional.gelu(encoder.conv2(states)).permute(0, 2, 1)  # [b, t, d]
        states = states + encoder.embed_positions.weight
        return Hidden(states, torch.full((len(waves),), states.shape[1]))

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        if hidden.whole:
            return hidden
        states = hidden.states
        for layer in self.model.model.encoder.layers[start:stop]:
            states = layer(states, None)
        return Hidden(states, hidden.lengths)

    def transcribe(self, hidden: Hidden) -> list[str]:  # noqa: D102
        greedy: dict[str, Any] = {"do_sample": False, "num_beams": 1}
        if getattr(self.model.generation_config, "is_multilingual", False):  # absent in English-only models
            greedy |= {"language": "en", "task": "transcribe"}
        if hidden.whole:
            if not hasattr(self.model.generation_config, "no_timestamps_token_id"):
                raise CheckpointError(
                    f"{self.checkpoint.id}: its generation_config.json knows no timestamps, so that recordings over"
                    " 30 s cannot be decoded. Take the published file, or cut the recordings."
                )
            mask = torch.ones(hidden.states.shape[0], hidden.states.shape[-1], dtype=torch.long, device=self.device)
            ids = self.model.generate(hidden.states, attention_mask=mask, return_timestamps=True, **greedy)
        else:
            states = self.model.model.encoder.layer_norm(hidden.states)
            outputs = BaseModelOutput(last_hidden_state=states)
            # A degenerate model may write timestamps unasked; transformers would then move on to a second window,
            # for which there is no input. One window, one call.
            ids = self.model.generate(encoder_outputs=outputs, force_unique_generate_call=True, **greedy)
        texts: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]


TARGETS: dict[str, Callable[[Checkpoint], SpeechTarget]] = {"hubert": HubertCTC, "whisper": WhisperSpeech}


def load_target(checkpoint: Checkpoint) -> SpeechTarget:
    """Load a speech target in fp32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: an unknown architecture, weights that do not fit it, or a head that is not in the file.
    """
    if checkpoint.model_type not in TARGETS:
        raise CheckpointError(
            f"model.target={checkpoint.id}: model_type {checkpoint.model_type!r} is not a known speech target."
            f" Known: {choices(list(TARGETS))}."
        )
    return TARGETS[checkpoint.model_type](checkpoint)


def _real_frames(lengths: Tensor, longest: int) -> Tensor:
    """``[b, t]``, True where a frame is not padding."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def _load(architecture: type[Any], checkpoint: Checkpoint) -> Any:
    """The model with every weight from the file, in fp32 whatever the file's dtype."""
    _ = checkpoint.tensor_files  # a truncated file is named here
    try:
        model, info = architecture.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=checkpoint.is_safetensors,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    except MamError:
        raise
    except Exception as error:  # transformers raises many kinds; all mean that this folder is not such a model
        raise CheckpointError(
            f"{checkpoint.id}: cannot be loaded as {architecture.__name__}: {str(error).strip().splitlines()[0]}"
        ) from error
    mismatched = [f"{name} {tuple(there)} instead of {tuple(wanted)}" for name, there, wanted in info["mismatched_keys"]]
    if mismatched:
        raise CheckpointError(f"{checkpoint.id}: shapes do not fit its config.json: {'; '.join(sorted(mismatched))}.")
    missing = sorted(key for key in info["missing_keys"] if not key.endswith("masked_spec_embed"))  # training only
    if missing:
        raise CheckpointError(
            f"{checkpoint.id}: lacks {len(missing)} weights that {architecture.__name__} needs:"
            f" {choices(missing[:6])}. Zero-shot results of random weights mean nothing;"
            " take a checkpoint that was fine-tuned for the task."
        )
    return model.eval()


def _auto(from_pretrained: Callable[..., Any], checkpoint: Checkpoint) -> Any:
    try:
        return from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{checkpoint.id}: its tokenizer or feature extractor cannot be loaded: {str(error).strip().splitlines()[0]}"
        ) from error
