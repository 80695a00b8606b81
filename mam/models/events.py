"""Audio-event models as targets: BEATs and the audio spectrogram transformer (AST)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mam.data.audio import RATE, Wave
from mam.errors import CheckpointError
from mam.models.beats import BeatsModel
from mam.models.beats_encoder import BeatsConfig
from mam.models.checkpoints import Checkpoint
from mam.models.hub import HubTarget
from mam.models.targets import Hidden, Readout, Target, target


@target("beats")
class Beats(Target):
    """BEATs in its original format: a `.pt` file, pre-trained or fine-tuned."""

    model: BeatsModel

    def load(self) -> BeatsModel:  # noqa: D102
        model = BeatsModel.from_checkpoint(self.checkpoint.weights[0])
        if self.readout == "scores" and model.predictor is None:
            raise CheckpointError(
                f"{self.checkpoint.id}: is pre-trained only and has no classes. Say head=probe_fixed, or take a"
                " fine-tuned checkpoint."
            )
        return model

    @property
    def encoder(self) -> nn.Module:  # noqa: D102
        return self.model.encoder

    @property
    def heads(self) -> int:  # noqa: D102
        return self.model.config.encoder_attention_heads

    @classmethod
    def limits(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[int, int | None]:
        """At least one patch."""
        return _config(checkpoint).least_samples, None

    @classmethod
    def caveats(cls, checkpoint: Checkpoint, parts: Sequence[str]) -> tuple[str, ...]:
        """Where the position bias is gated, the gate reads the projected query."""
        config = _config(checkpoint)
        if "q" not in parts or not (config.gru_rel_pos and config.relative_position_embedding):
            return ()
        return ("merging Q also moves the gate of BEATs' position bias, which reads Q; parts=kv avoids it",)

    def front(self, waves: Sequence[Wave]) -> Hidden:
        """Filterbank (batched) -> patches -> norm -> projection -> positions. Padding makes no patch."""
        samples = nn.utils.rnn.pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True)
        embedded = self.model.embed(self.model.fbank(samples.to(self.device)))  # [b, t, d]
        lengths = torch.tensor([self.model.config.patches(len(wave)) for wave in waves], device=self.device)
        hidden = Hidden(embedded, lengths)
        return Hidden(self.model.encoder.place(embedded, self._padding(hidden)), lengths)

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        if start == stop:
            return hidden
        return Hidden(self.model.encoder.run(hidden.states, self._padding(hidden), start, stop), hidden.lengths)

    def last(self, hidden: Hidden) -> Hidden:  # noqa: D102
        return Hidden(self.model.encoder.finish(hidden.states), hidden.lengths)

    def scores(self, hidden: Hidden) -> Tensor:
        """Class probabilities, each for itself (sigmoid), as the original computes them."""
        last = self.last(hidden)
        return self.model.classify(last.states, self._padding(last)).float().sigmoid()

    @property
    def labels(self) -> list[str]:  # noqa: D102
        found = self.model.labels or {}
        if sorted(found) != list(range(self.model.config.predictor_class)):
            raise CheckpointError(f"{self.checkpoint.id}: has no label_dict that names each of its classes.")
        return [found[i] for i in range(len(found))]

    @staticmethod
    def _padding(hidden: Hidden) -> Tensor | None:
        return ~hidden.real if hidden.is_padded else None


@target("audio-spectrogram-transformer")
class AudioSpectrogramTransformer(HubTarget):
    """AST, the audio spectrogram transformer: 10.24 s at a time, shorter clips are padded as in its training."""

    stem = "AST"

    @property
    def encoder(self) -> Any:  # noqa: D102
        return self.backbone

    @property
    def heads(self) -> int:  # noqa: D102
        return int(self.model.config.num_attention_heads)

    @classmethod
    def limits(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[int, int | None]:
        """What fits into its table of positions."""
        frames = int(checkpoint.config.get("max_length", 1024))
        return 400, 400 + (frames - 1) * RATE // 100

    def padded(self, samples: int) -> int:  # noqa: D102
        return int(self.extractor.max_length) * RATE // 100

    def front(self, waves: Sequence[Wave]) -> Hidden:
        """Filterbank -> patches, with two tokens before them + positions."""
        features = self.extractor(list(waves), sampling_rate=RATE, return_tensors="pt").input_values
        states = self.backbone.embeddings(features.to(self.device, self.dtype))
        return Hidden(states, torch.full((len(waves),), states.shape[1]))

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        states = hidden.states
        for layer in self.backbone.layers[start:stop]:
            states = layer(states)
        return Hidden(states, hidden.lengths)

    def last(self, hidden: Hidden) -> Hidden:  # noqa: D102
        return Hidden(self.backbone.layernorm(hidden.states), hidden.lengths)

    def pooled(self, hidden: Hidden) -> Tensor:
        """The mean of its two tokens, as its own head reads it (Gong et al. 2021, with DeiT's distillation token)."""
        tokens = self.last(hidden).states[:, :2]
        return tokens.float().mean(1)

    def scores(self, hidden: Hidden) -> Tensor:
        """Class probabilities, each for itself (sigmoid): AudioSet's clips have several labels."""
        logits: Tensor = self.model.classifier(self.pooled(hidden).to(self.dtype))
        return logits.float().sigmoid()


def _config(checkpoint: Checkpoint) -> BeatsConfig:
    try:
        return BeatsConfig.of(checkpoint.config)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.id}: {error}") from error
