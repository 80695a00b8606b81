"""BEATs: Chen et al., "BEATs: Audio Pre-Training with Acoustic Tokenizers", ICML 2023, arXiv 2212.09058.

A port that reads and writes the original checkpoints and keeps their parameter names. Shapes: ``b`` clips, ``f``
filterbank frames, ``t`` patches (ordered by time, then frequency), ``d`` width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mam.errors import CheckpointError
from mam.files import sha256_file
from mam.models.beats_encoder import BeatsConfig, Encoder
from mam.models.beats_file import read_original, refuse_misfit, write_original
from mam.models.fbank import fbank

FBANK_MEAN, FBANK_STD = 15.41663, 6.55582  # of AudioSet, from the published code
FULL_SCALE = 2**15  # scales waveforms in [-1, 1] to the range of 16-bit integers


class BeatsModel(nn.Module):
    """BEATs, pre-trained (returns features) or fine-tuned (returns class probabilities).

    ``labels`` maps class numbers to labels if the checkpoint has a ``label_dict``. ``cfg`` is the checkpoint's own.
    """

    def __init__(self, cfg: Mapping[str, Any], labels: Mapping[int, str] | None = None) -> None:
        """Build a model with newly initialised weights.

        Raises:
            ValueError: ``cfg`` is not usable.
        """
        super().__init__()
        self.cfg, self.config, self.labels = dict(cfg), BeatsConfig.of(cfg), None if labels is None else dict(labels)
        config, patch = self.config, self.config.input_patch_size
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, patch, stride=patch, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        self.post_extract_proj = (
            nn.Linear(config.embed_dim, config.encoder_embed_dim)
            if config.embed_dim != config.encoder_embed_dim
            else None
        )
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.encoder = Encoder(config)
        self.predictor = nn.Linear(config.encoder_embed_dim, config.predictor_class) if config.finetuned_model else None
        self.predictor_dropout = nn.Dropout(config.predictor_dropout)

    @classmethod
    def from_checkpoint(cls, path: str | Path, sha256: str | None = None) -> BeatsModel:
        """Load an original checkpoint in fp32 and evaluation mode.

        The file contains ``{"cfg", "model"}`` and optionally ``"label_dict"``.

        Args:
            path: The ``.pt`` file. It is read with ``weights_only``, so code in it is not run.
            sha256: The hash that the file must have.

        Raises:
            CheckpointError: The file is missing, has another hash, contains more than plain weights, is not BEATs, or
                its weights do not fit its ``cfg``.
        """
        path = Path(path)
        if sha256 is not None and path.is_file() and sha256_file(path) != sha256.lower():
            raise CheckpointError(f"{path}: its SHA-256 is {sha256_file(path)}, not {sha256}. Download it again.")
        saved = read_original(path)
        try:
            with torch.device("meta"):  # so that a cfg with absurd sizes allocates no memory
                model = cls(saved["cfg"], saved.get("label_dict"))
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
        refuse_misfit(path, model.state_dict(), saved["model"])
        model.load_state_dict(saved["model"], assign=True)
        return model.float().eval()

    def save_checkpoint(self, path: str | Path) -> None:
        """Write the original format; names, values and ``cfg`` are as read, weights have their present dtype."""
        write_original(Path(path), {"cfg": self.cfg, "model": self.state_dict(), "label_dict": self.labels})

    def fbank(self, waveform: Tensor) -> Tensor:
        """Compute the normalised filterbank of ``[b, samples]`` in [-1, 1] at 16 kHz -> ``[b, f, 128]``, fp32."""
        return (fbank(waveform * FULL_SCALE) - FBANK_MEAN) / (2 * FBANK_STD)

    def embed(self, features: Tensor) -> Tensor:
        """Embed the patches of a normalised filterbank, ``[b, f, 128]`` -> ``[b, t, d]``, without positions."""
        patches = self.patch_embedding(features[:, None].to(self.patch_embedding.weight.dtype))  # [b, e, f', 8]
        embedded: Tensor = self.layer_norm(patches.flatten(2).transpose(1, 2))  # [b, t, e]
        return embedded if self.post_extract_proj is None else self.post_extract_proj(embedded)

    def forward(self, waveform: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return the output of the original's ``extract_features``.

        Args:
            waveform: ``[b, samples]``, fp32 at 16 kHz in [-1, 1].
            padding_mask: ``[b, samples]``, True at padding, or None.

        Returns:
            Features ``[b, t, d]``, or the class probabilities ``[b, classes]`` of a fine-tuned checkpoint.

        Raises:
            ValueError: The waveform is shorter than one patch.
        """
        if waveform.shape[-1] < self.config.least_samples:
            raise ValueError(f"{waveform.shape[-1]} samples are too few: one patch needs {self.config.least_samples}")
        features = self.fbank(waveform)
        embedded = self.embed(features)
        padded = None
        if padding_mask is not None and padding_mask.any():
            padded = _coarser(_coarser(padding_mask, features.shape[1]), embedded.shape[1])  # [b, t]
        states = self.encoder(self.dropout_input(embedded), padded)
        return states if self.predictor is None else self.classify(states, padded).sigmoid()

    def classify(self, states: Tensor, padded: Tensor | None) -> Tensor:
        """Average the logits of a fine-tuned checkpoint over real patches, ``[b, t, d]`` -> ``[b, classes]``."""
        assert self.predictor is not None, "only a fine-tuned checkpoint has a predictor"
        logits: Tensor = self.predictor(self.predictor_dropout(states))
        if padded is None:
            return logits.mean(1)
        return logits.masked_fill(padded[..., None], 0).sum(1) / (~padded).sum(1, keepdim=True)


def _coarser(mask: Tensor, length: int) -> Tensor:
    """Downsample padding ``[b, n]`` to ``[b, length]``; a unit is padding if its whole span is, as in the original."""
    whole = mask.shape[1] - mask.shape[1] % length
    return mask[:, :whole].view(len(mask), length, -1).all(-1)
