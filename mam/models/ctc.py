"""HuBERT, wav2vec 2.0 and related models as targets: CTC recognisers and encoders of sounds.

They share a pipeline: waveform -> convolutions -> projection -> positions -> layers -> head. `CTCTarget` implements it;
subclasses override the steps that differ. Shapes: ``b`` clips, ``t`` frames, ``d`` width.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from mam.data.audio import RATE, Wave
from mam.models.checkpoints import Checkpoint
from mam.models.hidden import Hidden
from mam.models.hub import HubTarget
from mam.models.readout import Readout
from mam.models.targets import target_family
from mam.models.tokens import FILES, has_language_model
from mam.models.vocabulary import Vocabulary


class CTCTarget(HubTarget):
    """HuBERT and wav2vec 2.0, with either front-end (group norm in base, layer norm in large), pre- or post-norm."""

    stem = "Hubert"
    readouts = ("text", "features", "scores")
    suffixes: ClassVar[dict[Readout, str]] = {
        "text": "ForCTC",
        "features": "Model",
        "scores": "ForSequenceClassification",
    }

    vocabulary: Vocabulary

    @classmethod
    def check_settings(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[str, ...]:  # noqa: D102
        remarks = super().check_settings(checkpoint, readout)
        for key in ("conv_dim", "conv_kernel", "conv_stride"):
            if key in checkpoint.config:
                checkpoint.numbers(key)
        if readout != "text" or not (checkpoint.folder / FILES[0]).is_file():
            return remarks
        unused = ("the checkpoint's language model (Wav2Vec2ProcessorWithLM) is not used: mam decodes greedily",)
        remarks += Vocabulary.of(checkpoint).notes
        return remarks + unused if has_language_model(checkpoint.folder) else remarks

    @classmethod
    def working_bytes(cls, checkpoint: Checkpoint, samples: int) -> int:
        """Return the size of the first convolution's output, which is held once and a half more (measured)."""
        (width, *_), (stride, *_) = checkpoint.numbers("conv_dim"), checkpoint.numbers("conv_stride")
        return int(2.5 * 4 * width * samples / stride)

    @property
    def letters(self) -> tuple[str, ...]:  # noqa: D102
        return self.vocabulary.alphabet

    def load_tokenizer(self) -> None:  # noqa: D102
        self.vocabulary = Vocabulary.of(self.checkpoint)

    def save_tokenizer(self, folder: Path) -> None:
        """Copy the original files.

        transformers (5.23) misreads a delimiter other than ``|`` and would write it back that way.
        """
        for name in FILES:
            if (self.checkpoint.folder / name).is_file():
                shutil.copyfile(self.checkpoint.folder / name, folder / name)

    @property
    def encoder(self) -> Any:  # noqa: D102
        return self.backbone.encoder

    @property
    def heads(self) -> int:  # noqa: D102
        return int(self.model.config.num_attention_heads)

    @property
    def is_pre_norm(self) -> bool:
        """True if the encoder's norm follows its last layer instead of preceding its first."""
        return bool(getattr(self.model.config, "do_stable_layer_norm", False))

    def embed(self, heard: Hidden) -> Hidden:
        """Project the features, apply SpecAugment and add positions.

        SpecAugment is applied in training, if the model's configuration enables it.
        """
        projected = self.backbone.feature_projection(heard.states)
        states = projected[0] if isinstance(projected, tuple) else projected  # [b, t, d]
        # transformers rejects masked spans that are longer than the clips.
        if self.model.training and states.shape[1] > self.model.config.mask_time_length:
            states = self.backbone._mask_hidden_states(states, attention_mask=heard.real.long())
        states = states * heard.real[..., None]  # padding must be zero
        return Hidden(self.encoder.dropout(self.add_positions(states, heard.lengths)), heard.lengths)

    def listen(self, waves: Sequence[Wave]) -> Hidden:
        """Normalise the waveforms and compute convolutional features ``[b, t, c]``.

        Padding would change the statistics of group norm, so such front-ends process each clip at its true length.
        """
        normalised = [self.extractor(wave, sampling_rate=RATE).input_values[0] for wave in waves]
        clips = [
            torch.from_numpy(np.asarray(clip, dtype=np.float32)).to(self.device, self.dtype) for clip in normalised
        ]
        convolve = self.backbone.feature_extractor
        lengths = [self._frames(len(clip)) for clip in clips]
        if getattr(self.model.config, "feat_extract_norm", "layer") == "group":
            features = nn.utils.rnn.pad_sequence([convolve(clip[None])[0].T for clip in clips], batch_first=True)
        else:
            features = convolve(nn.utils.rnn.pad_sequence(clips, batch_first=True)).transpose(1, 2)
        return Hidden(features, torch.tensor(lengths))

    def add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Add the positional convolution and, in post-norm models, apply the norm; ``[b, t, d]``."""
        states = states + self.encoder.pos_conv_embed(states)
        return states if self.is_pre_norm else self._normed(states)

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        if start == stop:
            return hidden
        real = hidden.real if hidden.is_padded else None
        return Hidden(self.run_layers(hidden.states, real, start, stop), hidden.lengths)

    def run_layers(self, states: Tensor, real: Tensor | None, start: int, stop: int) -> Tensor:
        """Run layers ``start`` to ``stop - 1``; ``real`` ``[b, t]`` is False at padding, or None if there is none."""
        mask = self.attention_mask(states, real)
        for layer in self.encoder.layers[start:stop]:
            states = layer(states, attention_mask=mask)
        return states

    def attention_mask(self, states: Tensor, real: Tensor | None) -> Tensor | None:
        """Return the layers' attention mask for padding, or None if there is none."""
        if real is None:
            return None
        mask = create_bidirectional_mask(config=self.model.config, inputs_embeds=states, attention_mask=real)
        assert mask is None or isinstance(mask, Tensor)  # flex attention, which has its own mask type, is not used
        return mask

    def last(self, hidden: Hidden) -> Hidden:
        """Apply the norm of pre-norm models, and the adapter if there is one."""
        states = self._normed(hidden.states) if self.is_pre_norm else hidden.states
        adapter = getattr(self.backbone, "adapter", None)
        if adapter is None:
            return Hidden(states, hidden.lengths)
        # An adapter's convolutions would mix padding into real frames, so each clip is processed alone.
        clips = [adapter(row[None, :n])[0] for row, n in zip(states, hidden.lengths.tolist(), strict=True)]
        lengths = torch.tensor([len(clip) for clip in clips])
        return Hidden(nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)

    def logits(self, hidden: Hidden) -> list[Tensor]:
        """Return ``[t, vocabulary]`` for each clip, without padding, from the last layer's output."""
        last = self.last(hidden)
        return [row[:n] for row, n in zip(self.model.lm_head(last.states), last.lengths.tolist(), strict=True)]

    def anchors(self, hidden: Hidden) -> list[Any]:
        """Return the frames of each clip in which a letter is more probable than the blank, as a mask ``[t]``."""
        blank = self.model.config.pad_token_id
        return [logits.argmax(-1) != blank for logits in self.logits(hidden)]

    def doubts(self, hidden: Hidden, anchors: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Measure the entropy over letters in the anchored frames; the blank is left out of the distribution.

        With the blank included, a model that predicts blank in every frame would have the lowest entropy.
        """
        blank = self.model.config.pad_token_id
        doubts, silent = [], []
        for logits, frames in zip(self.logits(hidden), anchors, strict=True):
            chosen = logits.float()[frames]  # [frames with a letter, vocabulary]
            letters = torch.cat([chosen[:, :blank], chosen[:, blank + 1 :]], 1).log_softmax(-1)
            zero = logits.float().sum() * 0  # for a clip without a letter
            doubts.append(-(letters.exp() * letters).sum(-1).mean() if len(chosen) else zero)
            silent.append((chosen.argmax(-1) == blank).float().mean() if len(chosen) else zero)
        return torch.stack(doubts), torch.stack(silent)

    def spell(self, text: str, normalise: Callable[[str], str]) -> tuple[list[int], list[str]]:
        """Return the tokens of the normalised text and the missing characters; see `Vocabulary.spell`."""
        return self.vocabulary.spell(text, normalise)

    def token_capacity(self, samples: int) -> int | None:
        """Return the number of frames, or None with an adapter, which shortens the states.

        CTC needs one frame per token, and a blank between equal tokens.
        """
        return None if getattr(self.backbone, "adapter", None) else self._frames(samples)

    def losses(self, hidden: Hidden, tokens: Sequence[list[int]], smoothing: float) -> Tensor:  # noqa: D102
        last = self.last(hidden)
        scores = self.model.lm_head(self.model.dropout(last.states)).float().log_softmax(-1)
        flat = torch.tensor([token for transcript in tokens for token in transcript])
        counts = torch.tensor([len(transcript) for transcript in tokens])
        # Computed on the CPU: the backward pass of CTC on a GPU is not deterministic, and torch raises an error for it
        # in deterministic mode. The scores are small, [b, t, letters].
        blank = self.model.config.pad_token_id
        by_frame = scores.cpu().transpose(0, 1)
        lengths = last.lengths.cpu()
        summed = nn.functional.ctc_loss(by_frame, flat, lengths, counts, blank, reduction="none")
        return (summed / counts).to(scores.device)

    @property
    def frontend(self) -> list[nn.Module]:
        """The convolutions."""
        return [self.backbone.feature_extractor]

    def transcribe(self, hidden: Hidden) -> list[str]:  # noqa: D102
        last = self.last(hidden)
        ids = self.model.lm_head(last.states).argmax(-1).tolist()  # [b, t]: only these leave the device
        return [self.vocabulary.text(row[:n]) for row, n in zip(ids, last.lengths.tolist(), strict=True)]

    def _normed(self, states: Tensor) -> Tensor:
        normed: Tensor = self.encoder.layer_norm(states)
        return normed

    def _frames(self, samples: int) -> int:
        """Return the number of frames that the convolutions produce from this many samples."""
        config = self.model.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples


@target_family("hubert")
class Hubert(CTCTarget):
    """HuBERT, with or without a batch norm before the positional convolution (mHuBERT has one)."""

    def add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Add positions; batch norm is applied to real frames only.

        Applied to padding, it would turn zeros into other values, which the convolution would mix into real frames.
        """
        embed = self.encoder.pos_conv_embed
        if embed.batch_norm is None:
            return super().add_positions(states, lengths)
        real, frames = Hidden(states, lengths).real, torch.zeros_like(states)
        frames[real] = embed.batch_norm(states[real])  # [frames of all clips, d]
        convolved = embed.activation(embed.padding(embed.conv(frames.transpose(1, 2)))).transpose(1, 2)
        return states + convolved if self.is_pre_norm else self._normed(states + convolved)


@target_family("wav2vec2")
class Wav2Vec2(CTCTarget):
    """wav2vec 2.0."""

    stem = "Wav2Vec2"


@target_family("data2vec-audio")
class Data2VecAudio(CTCTarget):
    """Data2Vec-audio: five positional convolutions, run clip by clip so that padding cannot affect real frames."""

    stem = "Data2VecAudio"

    def add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:  # noqa: D102
        clips = [row[:n] for row, n in zip(states, lengths.tolist(), strict=True)]
        placed = [clip + self.encoder.pos_conv_embed(clip[None])[0] for clip in clips]
        return self._normed(nn.utils.rnn.pad_sequence(placed, batch_first=True))


@target_family("wavlm")
class WavLM(CTCTarget):
    """WavLM: its relative position bias is computed in layer 0 and gated by the hidden states (not Q) in each layer."""

    stem = "WavLM"

    def run_layers(self, states: Tensor, real: Tensor | None, start: int, stop: int) -> Tensor:  # noqa: D102
        frames = states.shape[1]
        bias = self.encoder.layers[0].attention.compute_bias(frames, frames)  # [h, t, t]
        bias = bias.repeat(states.shape[0], 1, 1)  # [b h, t, t]
        with warnings.catch_warnings():
            # transformers (5.23) passes a padding mask of a different dtype than the bias; torch converts it.
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask and attn_mask", UserWarning)
            for layer in self.encoder.layers[start:stop]:
                states, _ = layer(states, attention_mask=real, position_bias=bias)
        return states
