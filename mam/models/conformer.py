"""CTC targets with convolutions inside their layers: wav2vec 2.0 Conformer and Wav2Vec2-BERT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mam.data.audio import RATE, Wave
from mam.models.checkpoints import Checkpoint
from mam.models.ctc import CTCTarget
from mam.models.hidden import Hidden
from mam.models.settings import Configured
from mam.models.targets import target_family


@target_family("wav2vec2-conformer")
class Wav2Vec2Conformer(CTCTarget):
    """wav2vec 2.0 with Conformer layers: relative or rotary positions in the layers, norm after the last layer."""

    stem = "Wav2Vec2Conformer"
    is_pre_norm = True
    default_positions = "relative"
    positions_on_query: tuple[str, ...] = ("relative",)  # rotary positions rotate the input of Q and K, not Q

    @classmethod
    def reads_query(cls, checkpoint: Configured) -> str | None:  # noqa: D102
        kind = checkpoint.config.get("position_embeddings_type", cls.default_positions)
        return f"its position embedding ({kind})" if kind in cls.positions_on_query else None

    def add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:  # noqa: D102
        return states

    def run_layers(self, states: Tensor, real: Tensor | None, start: int, stop: int) -> Tensor:  # noqa: D102
        mask, positions = self.attention_mask(states, real), self.positions(states)
        with self._silent_padding(real):
            for layer in self.encoder.layers[start:stop]:
                states = layer(states, attention_mask=mask, relative_position_embeddings=positions)
        return states

    def positions(self, states: Tensor) -> Tensor | None:
        """Return the embeddings of relative or rotary positions, or None if the layers have their own."""
        embed = self.encoder.embed_positions
        return None if embed is None else embed(states)

    @contextmanager
    def _silent_padding(self, real: Tensor | None) -> Iterator[None]:
        """Set padding to zero before the layers' convolutions; transformers (5.23) lets it leak into real frames."""
        if real is None:
            yield
            return

        def silence(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            return (inputs[0] * real[:, None, :],)

        hooks = [layer.conv_module.depthwise_conv.register_forward_pre_hook(silence) for layer in self.encoder.layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@target_family("wav2vec2-bert")
class Wav2Vec2Bert(Wav2Vec2Conformer):
    """Wav2Vec2-BERT: log-mel features as input, causal convolutions, and often an adapter before the head."""

    stem = "Wav2Vec2Bert"
    extractor_class = "SeamlessM4TFeatureExtractor"
    default_positions = "relative_key"
    positions_on_query = ("relative", "relative_key")
    is_pre_norm = False

    @classmethod
    def sizes(cls, extractor: Any, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any, str]]:  # noqa: D102
        width = checkpoint.with_defaults("feature_projection_input_dim")
        bins = extractor.num_mel_bins * extractor.stride  # mel bins of ``stride`` frames are concatenated
        return {"features per frame": (bins, width, "feature_projection_input_dim in config.json")}

    @classmethod
    def working_bytes(cls, checkpoint: Checkpoint, samples: int) -> int:
        """Return 0: no convolution hears the waveform, and what the layers need is not known."""
        return 0

    def listen(self, waves: Sequence[Wave]) -> Hidden:  # noqa: D102
        extract = partial(self.extractor, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
        features = [extract(wave) for wave in waves]
        lengths = [int(clip.attention_mask.sum()) for clip in features]
        clips = [clip.input_features[0, :n] for clip, n in zip(features, lengths, strict=True)]
        clips = [clip.to(self.device, self.dtype) for clip in clips]
        return Hidden(nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor(lengths))

    @property
    def frontend(self) -> list[nn.Module]:
        """An empty list: log-mel features have no weights."""
        return []

    def token_capacity(self, samples: int) -> int | None:
        """Return None: the number of frames is unknown until the feature extractor has run."""
        return None

    def run_layers(self, states: Tensor, real: Tensor | None, start: int, stop: int) -> Tensor:  # noqa: D102
        mask, positions = self.attention_mask(states, real), self.positions(states)
        for layer in self.encoder.layers[start:stop]:
            states = layer(
                states, attention_mask=mask, relative_position_embeddings=positions, conv_attention_mask=real
            )
        return states

    def last(self, hidden: Hidden) -> Hidden:  # noqa: D102
        feed_forward = self.backbone.intermediate_ffn
        states = hidden.states if feed_forward is None else hidden.states + 0.5 * feed_forward(hidden.states)
        return super().last(Hidden(states, hidden.lengths))
