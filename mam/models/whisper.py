"""Whisper as a target: a recogniser of speech, and an encoder of sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from mam.data.audio import RATE, Wave
from mam.errors import CheckpointError
from mam.models.checkpoints import Checkpoint
from mam.models.hub import HubTarget
from mam.models.targets import Hidden, Readout, target

SAMPLES = 480_000  # Whisper hears 30 s at a time


@target("whisper")
class Whisper(HubTarget):
    """Whisper: the encoder is merged, the decoder writes greedily. Up to 30 s at once, longer recordings in windows."""

    stem = "Whisper"
    has_one_length = True
    pack_seconds: ClassVar[dict[str, float]] = {"cpu": 120.0, "cuda": 480.0}  # decoding gains from clips together
    readouts = ("text", "features", "scores")
    suffixes: ClassVar[dict[Readout, str]] = {
        "text": "ForConditionalGeneration",
        "features": "Model",
        "scores": "ForAudioClassification",
    }

    extractor_class = "WhisperFeatureExtractor"

    @classmethod
    def sizes(cls, extractor: Any, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any, str]]:  # noqa: D102
        bins, positions = (checkpoint.with_defaults(key) for key in ("num_mel_bins", "max_source_positions"))
        return {
            "mel bins": (extractor.feature_size, bins, "num_mel_bins in config.json"),
            "frames": (extractor.nb_max_frames, 2 * positions, "twice max_source_positions in config.json"),
        }

    @property
    def encoder(self) -> Any:  # noqa: D102
        return self.model.encoder if self.readout == "scores" else self.backbone.encoder

    @classmethod
    def limits(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[int, int | None]:
        """Without decoding there is nothing that moves along a long recording: 30 s at most."""
        return 0, None if readout == "text" else SAMPLES

    @property
    def heads(self) -> int:  # noqa: D102
        return int(self.model.config.encoder_attention_heads)

    def alone(self, samples: int) -> bool:  # noqa: D102
        return samples > int(self.extractor.n_samples)

    def padded(self, samples: int) -> int:  # noqa: D102
        return max(samples, int(self.extractor.n_samples))

    @property
    def frontend(self) -> list[nn.Module]:
        """The convolutions."""
        return [self.encoder.conv1, self.encoder.conv2]

    def listen(self, waves: Sequence[Wave]) -> Hidden:
        """Log-mel of 30 s ``[b, t, mels]``, padded with silence, as Whisper was trained.

        A recording beyond 30 s stays log-mel at its whole length and goes through `transcribe` as it is.
        """
        if len(waves) == 1 and self.alone(len(waves[0])):
            long = self.extractor(
                waves[0], sampling_rate=RATE, truncation=False, padding="longest", return_tensors="pt"
            )
            features = long.input_features.to(self.device, self.dtype)
            return Hidden(features, torch.tensor([features.shape[-1]]), whole=True)
        features = self.extractor(list(waves), sampling_rate=RATE, return_tensors="pt").input_features
        lengths = torch.tensor([-(-len(wave) // self.extractor.hop_length) for wave in waves])
        return Hidden(features.to(self.device, self.dtype).transpose(1, 2), lengths)

    def embed(self, heard: Hidden) -> Hidden:
        """SpecAugment, while training, by the model's configuration -> two convolutions + positions."""
        if heard.whole:
            return heard
        features = heard.states.transpose(1, 2)
        if self.model.training and self.readout != "scores":
            features = self.backbone._mask_input_features(features)
        states = nn.functional.gelu(self.encoder.conv1(features))
        states = nn.functional.gelu(self.encoder.conv2(states)).permute(0, 2, 1)  # [b, t, d]
        states = states + self.encoder.embed_positions.weight
        states = nn.functional.dropout(states, self.encoder.dropout, self.model.training)
        lengths = (heard.lengths + 1) // 2  # the second convolution halves
        return Hidden(states, lengths.clamp_max(states.shape[1]))

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        if hidden.whole:
            return hidden
        states = hidden.states
        for layer in self.encoder.layers[start:stop]:
            states = layer(states, None)
        return Hidden(states, hidden.lengths)

    def last(self, hidden: Hidden) -> Hidden:  # noqa: D102
        return Hidden(self.encoder.layer_norm(hidden.states), hidden.lengths)

    def spell(self, text: str, normalise: Callable[[str], str]) -> tuple[list[int], list[str]]:
        """The text as written, between the tokens that Whisper puts around it; its vocabulary has every character."""
        ids: list[int] = self.tokenizer(text.strip()).input_ids
        return ids[ids[0] == self.model.config.decoder_start_token_id :], []

    def losses(self, hidden: Hidden, tokens: Sequence[list[int]], smoothing: float) -> Tensor:
        """Cross-entropy of the next token, the decoder reading the true ones before it."""
        rows = [torch.tensor(one, device=self.device) for one in tokens]
        truth = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)  # [b, n]
        start = torch.full_like(truth[:, :1], self.model.config.decoder_start_token_id)
        before = torch.cat([start, truth[:, :-1]], 1)
        before = before.masked_fill(before == -100, self.model.config.pad_token_id)
        encoded = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        scores = self.model(encoder_outputs=encoded, decoder_input_ids=before, use_cache=False).logits  # [b, n, v]
        loss = nn.functional.cross_entropy(
            scores.float().transpose(1, 2), truth, reduction="none", label_smoothing=smoothing
        )
        return loss.sum(1) / (truth != -100).sum(1)

    def anchors(self, hidden: Hidden) -> list[Any]:
        """Of each clip the tokens that the decoder writes, to the end of the text."""
        end = self.model.config.eos_token_id
        made = []
        for row in self._written(hidden):
            ends = (row[1:] == end).nonzero()  # the first token may be the same: it starts the text
            made.append(row[: int(ends[0, 0]) + 2] if len(ends) else row)
        return made

    def doubts(self, hidden: Hidden, anchors: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """At every token of the anchored text, the decoder reading that text; silence is an end before its end."""
        end, doubts, silent = self.model.config.eos_token_id, [], []
        rows = nn.utils.rnn.pad_sequence(list(anchors), batch_first=True, padding_value=end)
        encoded = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        scores = self.model(encoder_outputs=encoded, decoder_input_ids=rows[:, :-1], use_cache=False).logits
        for logits, row in zip(scores.float(), anchors, strict=True):
            tokens = logits[: len(row) - 1].log_softmax(-1)  # [tokens after the first, vocabulary]
            doubts.append(-(tokens.exp() * tokens).sum(-1).mean())
            silent.append(((tokens.argmax(-1) == end) & (row[1:] != end)).float().mean())
        return torch.stack(doubts), torch.stack(silent)

    def share(self, model: Any, head: nn.Module) -> None:  # noqa: D102
        model.encoder.load_state_dict(self.encoder.state_dict())
        self.share_head(model, head)

    def transcribe(self, hidden: Hidden) -> list[str]:  # noqa: D102
        texts: list[str] = self.tokenizer.batch_decode(self._written(hidden), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _written(self, hidden: Hidden) -> Tensor:
        """Token ids ``[b, n]`` that the decoder writes greedily, padded with the end of the text."""
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
            whole: Tensor = self.model.generate(hidden.states, attention_mask=mask, return_timestamps=True, **greedy)
            return whole
        outputs = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        # A degenerate model may write timestamps unasked; transformers would then move on to a second window,
        # for which there is no input. One window, one call.
        ids: Tensor = self.model.generate(encoder_outputs=outputs, force_unique_generate_call=True, **greedy)
        return ids
