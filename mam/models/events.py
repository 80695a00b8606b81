"""Audio-event models as targets: BEATs and the audio spectrogram transformer (AST)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mam.data.audio import RATE, Wave
from mam.errors import CheckpointError
from mam.models.beats import BeatsModel
from mam.models.beats_encoder import BeatsConfig
from mam.models.checkpoints import Checkpoint
from mam.models.fbank import frames_of
from mam.models.hidden import Hidden
from mam.models.hub import HubTarget
from mam.models.readout import Readout
from mam.models.settings import Configured
from mam.models.targets import Target, target_family


@target_family("beats")
class Beats(Target):
    """BEATs in its original format: a `.pt` file, pre-trained or fine-tuned."""

    model: BeatsModel

    def load(self) -> BeatsModel:  # noqa: D102
        model = BeatsModel.from_checkpoint(self.checkpoint.weights[0])
        if self.readout == "scores" and model.predictor is None:
            raise CheckpointError(
                f"{self.checkpoint.id}: is only pre-trained and has no classes. Set head=probe_fixed, or use a"
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
        """Return the length of one patch as the minimum; there is no maximum."""
        return _config(checkpoint).least_samples, None

    @classmethod
    def working_bytes(cls, checkpoint: Checkpoint, samples: int) -> int:
        """Return the size of one layer's position bias between all patches and of the weights of its attention."""
        config = _config(checkpoint)
        patches = int(config.patches(torch.tensor(frames_of(samples))))
        return 2 * 4 * config.encoder_attention_heads * patches**2

    @classmethod
    def caveats(cls, checkpoint: Checkpoint, parts: Sequence[str]) -> tuple[str, ...]:
        """Return a caveat if Q is merged and the gate of the position bias reads the projected query."""
        if "q" not in parts or cls.reads_query(checkpoint) is None:
            return ()
        return ("merging Q also changes BEATs' gated position bias, which is computed from Q; parts=kv avoids this",)

    @classmethod
    def reads_query(cls, checkpoint: Configured) -> str | None:  # noqa: D102
        config = _config(checkpoint)
        return "the gate of its position bias" if config.gru_rel_pos and config.relative_position_embedding else None

    def listen(self, waves: Sequence[Wave]) -> Hidden:
        """Compute the filterbank as a batch, ``[b, f, 128]``."""
        samples = nn.utils.rnn.pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True)
        lengths = torch.tensor([frames_of(len(wave)) for wave in waves])
        return Hidden(self.model.fbank(samples.to(self.device)), lengths)

    def embed(self, heard: Hidden) -> Hidden:
        """Embed patches, normalise, project and add positions; padding yields no patches."""
        embedded = self.model.dropout_input(self.model.embed(heard.states))  # [b, t, d]
        lengths = self.model.config.patches(heard.lengths)
        hidden = Hidden(embedded, lengths)
        return Hidden(self.model.encoder.place(embedded, self._padding(hidden)), lengths)

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        if start == stop:
            return hidden
        return Hidden(self.model.encoder.run(hidden.states, self._padding(hidden), start, stop), hidden.lengths)

    def recompute_layers(self) -> None:  # noqa: D102
        self.model.encoder.recomputes = True

    def last(self, hidden: Hidden) -> Hidden:  # noqa: D102
        return Hidden(self.model.encoder.finish(hidden.states), hidden.lengths)

    def scores(self, hidden: Hidden) -> Tensor:
        """Return class probabilities, independent of each other (sigmoid), as in the original."""
        last = self.last(hidden)
        return self.model.classify(last.states, self._padding(last)).float().sigmoid()

    @property
    def labels(self) -> list[str]:  # noqa: D102
        names = self.model.labels or {}
        if sorted(names) != list(range(self.model.config.predictor_class)):
            raise CheckpointError(f"{self.checkpoint.id}: its label_dict does not name all of its classes.")
        return [names[i] for i in range(len(names))]

    def save(self, folder: Path, head: nn.Module | None = None, classes: Sequence[str] = ()) -> None:
        """Write ``beats.pt`` in the original format.

        The original averages a head's outputs over patches. For a linear head that equals its output on the average.
        """
        model = self.model
        if head is not None:
            cfg = self.model.cfg | {"finetuned_model": True, "predictor_class": len(classes), "predictor_dropout": 0.0}
            model = BeatsModel(cfg, dict(enumerate(classes)))
            weights = {name: tensor for name, tensor in self.model.state_dict().items() if "predictor" not in name}
            model.load_state_dict(weights | {f"predictor.{name}": tensor for name, tensor in head.state_dict().items()})
        folder.mkdir(parents=True, exist_ok=True)
        model.save_checkpoint(folder / "beats.pt")

    @staticmethod
    def _padding(hidden: Hidden) -> Tensor | None:
        return ~hidden.real if hidden.is_padded else None


@target_family("audio-spectrogram-transformer")
class AudioSpectrogramTransformer(HubTarget):
    """Audio Spectrogram Transformer (AST): 10.24 s per clip; shorter clips are padded, as in its training."""

    stem = "AST"
    has_one_length = True
    extractor_class = "ASTFeatureExtractor"

    @classmethod
    def sizes(cls, extractor: Any, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any, str]]:  # noqa: D102
        bins, frames = (checkpoint.number(key) for key in ("num_mel_bins", "max_length"))
        return {
            "mel bins": (extractor.num_mel_bins, bins, "num_mel_bins in config.json"),
            "frames": (extractor.max_length, frames, "max_length in config.json"),
        }

    @property
    def encoder(self) -> Any:  # noqa: D102
        return self.backbone

    @property
    def heads(self) -> int:  # noqa: D102
        return int(self.model.config.num_attention_heads)

    @classmethod
    def limits(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[int, int | None]:
        """Return the clip lengths that fit its table of positions."""
        frames = checkpoint.number("max_length")
        return 400, 400 + (frames - 1) * RATE // 100

    def padded(self, samples: int) -> int:  # noqa: D102
        return int(self.extractor.max_length) * RATE // 100

    def listen(self, waves: Sequence[Wave]) -> Hidden:
        """Compute the filterbank of 10.24 s, ``[b, f, mels]``."""
        features = self.extractor(list(waves), sampling_rate=RATE, return_tensors="pt").input_values
        return Hidden(features.to(self.device, self.dtype), torch.full((len(waves),), features.shape[1]))

    def embed(self, heard: Hidden) -> Hidden:
        """Embed the patches, prepend two tokens and add positions."""
        states = self.backbone.embeddings(heard.states)
        return Hidden(states, torch.full((len(states),), states.shape[1]))

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        states = hidden.states
        for layer in self.backbone.layers[start:stop]:
            states = layer(states)
        return Hidden(states, hidden.lengths)

    def last(self, hidden: Hidden) -> Hidden:  # noqa: D102
        return Hidden(self.backbone.layernorm(hidden.states), hidden.lengths)

    def pooled(self, hidden: Hidden) -> Tensor:
        """Return the mean of its two tokens, the input of its own head.

        Gong et al., 2021, with DeiT's distillation token.
        """
        tokens = self.last(hidden).states[:, :2]
        return tokens.float().mean(1)

    def new_head(self, classes: int) -> nn.Module:
        """Create a classifier that normalises before it projects, like the model's own head."""
        norm = nn.LayerNorm(self.width, eps=self.model.config.layer_norm_eps)
        return nn.Sequential(OrderedDict(layernorm=norm, dense=nn.Linear(self.width, classes)))

    def share_head(self, model: Any, head: nn.Module) -> None:  # noqa: D102
        model.classifier.load_state_dict(head.state_dict())

    def scores(self, hidden: Hidden) -> Tensor:
        """Return class probabilities, independent of each other (sigmoid): AudioSet's clips have several labels."""
        logits: Tensor = self.model.classifier(self.pooled(hidden).to(self.dtype))
        return logits.float().sigmoid()


def _config(checkpoint: Configured) -> BeatsConfig:
    try:
        return BeatsConfig.of(checkpoint.config)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.id}: {error}") from error
