"""The Transformer of BEATs and its sizes; see `mam.models.beats`.

Shapes: ``b`` clips, ``t`` patches, ``d`` width, ``h`` heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mam.errors import choices
from mam.models.fbank import BINS, HOP, WINDOW

DEEPEST = 1000  # maximum number of layers; a cfg with more is damaged
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": nn.functional.gelu, "relu": nn.functional.relu}


@dataclass(frozen=True)
class BeatsConfig:
    """The sizes and options of a checkpoint's ``cfg``, under its names and with the original's defaults.

    Options of pre-training (``layer_wise_gradient_decay_ratio`` and others) stay in the checkpoint but have no effect.
    """

    input_patch_size: int = -1
    embed_dim: int = 512
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: str = "gelu"
    layer_norm_first: bool = False
    deep_norm: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.0
    dropout_input: float = 0.0
    conv_pos: int = 128
    conv_pos_groups: int = 16
    relative_position_embedding: bool = False
    num_buckets: int = 320
    max_distance: int = 1280
    gru_rel_pos: bool = False
    finetuned_model: bool = False
    predictor_dropout: float = 0.1
    predictor_class: int = 527

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> BeatsConfig:
        """Read a checkpoint's ``cfg``; ValueError names every unusable value."""
        known = {field.name: field for field in fields(cls)}
        config = cls(**{name: value for name, value in cfg.items() if name in known})
        problems = []
        for name, field in known.items():
            value, kind = getattr(config, name), type(field.default)
            has_type = isinstance(value, int | float) if kind is float else isinstance(value, kind)
            if not has_type or (kind is float and not 0 <= value <= 1) or (kind is int and not 1 <= value <= 10**6):
                problems.append(f"{name}={value!r}")
        if not problems and config.activation_fn not in ACTIVATIONS:
            problems.append(f"activation_fn={config.activation_fn!r} (known: {choices(list(ACTIVATIONS))})")
        if not problems and config.encoder_embed_dim % config.encoder_attention_heads:
            problems.append(f"encoder_embed_dim={config.encoder_embed_dim} is not a multiple of its heads")
        if not problems and config.encoder_embed_dim % config.conv_pos_groups:
            problems.append(f"encoder_embed_dim={config.encoder_embed_dim} is not a multiple of conv_pos_groups")
        if not problems and config.input_patch_size > BINS:
            problems.append(f"input_patch_size={config.input_patch_size} is more than {BINS} bins")
        if not problems and config.encoder_layers > DEEPEST:
            problems.append(f"encoder_layers={config.encoder_layers} is more than {DEEPEST}")
        if problems:
            raise ValueError(f"its cfg does not describe a BEATs model: {'; '.join(problems)}")
        return config

    @property
    def least_samples(self) -> int:
        """The length of the shortest waveform that contains one patch, in samples at 16 kHz."""
        return WINDOW + (self.input_patch_size - 1) * HOP

    def patches(self, frames: Tensor) -> Tensor:
        """Return the number of patches in this many filterbank frames."""
        return frames // self.input_patch_size * (BINS // self.input_patch_size)


class Encoder(nn.Module):
    """Positional convolution, norm and layers; all layers share one table of relative positions."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config, self.recomputes = config, False
        self.pos_conv = nn.Sequential(PositionalConv(config))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.encoder_layers))
        if config.relative_position_embedding:
            table = nn.Embedding(config.num_buckets, config.encoder_attention_heads)
            for layer in self.layers:
                cast(Layer, layer).self_attn.relative_attention_bias = table
        self.layer_norm = nn.LayerNorm(config.encoder_embed_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor, padded: Tensor | None) -> Tensor:
        """Encode ``[b, t, d]`` with the padding ``[b, t]`` (True = padding) or None -> ``[b, t, d]``."""
        states = self.run(self.place(states, padded), padded, 0, len(self.layers))
        return self.finish(states)

    def place(self, states: Tensor, padded: Tensor | None) -> Tensor:
        """Add positions; padding is set to zero first, so that it does not enter the convolution."""
        if padded is not None:
            states = states.masked_fill(padded[..., None], 0)
        states = states + self.pos_conv(states.transpose(1, 2)).transpose(1, 2)
        placed: Tensor = self.dropout(states if self.config.layer_norm_first else self.layer_norm(states))
        return placed

    def run(self, states: Tensor, padded: Tensor | None, start: int, stop: int) -> Tensor:
        """Run layers ``start`` to ``stop - 1``."""
        bias = self.position_bias(states.shape[1])
        for layer in self.layers[start:stop]:
            if self.training and torch.rand(()) < self.config.encoder_layerdrop:
                continue
            if self.recomputes and self.training:
                states = checkpoint(layer, states, padded, bias, use_reentrant=False)
            else:
                states = layer(states, padded, bias)
        return states

    def finish(self, states: Tensor) -> Tensor:
        """Apply the norm after the last layer of a pre-norm model."""
        finished: Tensor = self.layer_norm(states) if self.config.layer_norm_first else states
        return finished

    def position_bias(self, length: int) -> Tensor | None:
        """Return the bias ``[h, t, t]`` from the shared table, or None if there is no table."""
        if not self.config.relative_position_embedding:
            return None
        table = cast(Layer, self.layers[0]).self_attn.relative_attention_bias
        buckets = relative_buckets(length, self.config.num_buckets, self.config.max_distance)
        bias: Tensor = table(buckets.to(table.weight.device)).permute(2, 0, 1)
        return bias


class PositionalConv(nn.Module):
    """A grouped convolution over patches, weight-normed over the kernel's positions, followed by GELU."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        d, kernel, groups = config.encoder_embed_dim, config.conv_pos, config.conv_pos_groups
        self.groups = groups
        self.bias = nn.Parameter(torch.zeros(d))
        self.weight_g = nn.Parameter(torch.ones(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.randn(d, d // groups, kernel) * (4 / (kernel * d)) ** 0.5)

    def forward(self, states: Tensor) -> Tensor:
        """Convolve ``[b, d, t]`` -> ``[b, d, t]``; the extra last position of an even kernel is dropped."""
        norm = torch.linalg.vector_norm(self.weight_v, dim=(0, 1), keepdim=True)
        weight, kernel = self.weight_g * self.weight_v / norm, self.weight_v.shape[-1]
        convolved = nn.functional.conv1d(states, weight, self.bias, padding=kernel // 2, groups=self.groups)
        return nn.functional.gelu(convolved[..., : states.shape[-1]])


class Layer(nn.Module):
    """A Transformer layer, pre- or post-norm.

    ``deep_norm`` scales the residual by (2N)^¼ for N layers (arXiv 2203.00555).
    """

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        d, inner = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.fc1, self.fc2 = nn.Linear(d, inner), nn.Linear(inner, d)
        self.final_layer_norm = nn.LayerNorm(d)
        self.activation = ACTIVATIONS[config.activation_fn]
        self.pre_norm = config.layer_norm_first
        self.residual = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        self.dropout, self.inner_dropout = nn.Dropout(config.dropout), nn.Dropout(config.activation_dropout)

    def forward(self, states: Tensor, padded: Tensor | None, bias: Tensor | None) -> Tensor:
        """Run the layer, ``[b, t, d]`` -> ``[b, t, d]``."""
        if self.pre_norm:
            states = states + self.dropout(self.self_attn(self.self_attn_layer_norm(states), padded, bias))
            inner: Tensor = states + self._feed_forward(self.final_layer_norm(states))
            return inner
        attended = self.dropout(self.self_attn(states, padded, bias))
        states = self.self_attn_layer_norm(states * self.residual + attended)
        outer: Tensor = self.final_layer_norm(states * self.residual + self._feed_forward(states))
        return outer

    def _feed_forward(self, states: Tensor) -> Tensor:
        output: Tensor = self.dropout(self.fc2(self.inner_dropout(self.activation(self.fc1(states)))))
        return output


class Attention(nn.Module):
    """Self-attention with a relative position bias that each query gates (WavLM, arXiv 2110.13900, section 3.2).

    The gate is computed from the *projected* query, so a change of Q also changes the gate.
    """

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        d, self.heads = config.encoder_embed_dim, config.encoder_attention_heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(d, d) for _ in range(4))
        self.dropout = config.attention_dropout
        self.relative_attention_bias: nn.Embedding  # if used, the encoder sets the same table in every layer
        self.is_gated = config.gru_rel_pos and config.relative_position_embedding
        if config.gru_rel_pos:
            self.grep_linear = nn.Linear(d // self.heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, states: Tensor, padded: Tensor | None, bias: Tensor | None) -> Tensor:
        """Attend from ``[b, t, d]`` with padding ``[b, t]`` and bias ``[h, t, t]`` -> ``[b, t, d]``."""
        q, k, v = (
            project(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [b, h, t, d/h]
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask = None if bias is None else self._gate(q) * bias if self.is_gated else bias.expand(len(q), -1, -1, -1)
        if padded is not None:
            mask = q.new_zeros(()) if mask is None else mask
            mask = mask.masked_fill(padded[:, None, None, :], -torch.inf)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        mixed: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return mixed

    def _gate(self, q: Tensor) -> Tensor:
        """Compute the gate, ``[b, h, t, d/h]`` -> ``[b, h, t, 1]``."""
        update, reset = self.grep_linear(q).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)
        gate: Tensor = update * (reset * self.grep_a - 1) + 2
        return gate


@lru_cache(maxsize=16)
def relative_buckets(length: int, buckets: int, max_distance: int) -> Tensor:
    """Return the bucket of every pair (query, key), ``[t, t]``.

    Half of the buckets are for keys after the query. Near distances have a bucket each, far ones share buckets of
    logarithmic size. Raffel et al., "Exploring the limits of transfer learning", JMLR 2020, section 2.1 (T5,
    bidirectional).
    """
    with torch.inference_mode(False):  # the cached tensor is used in training too
        position = torch.arange(length)
        relative = position[None, :] - position[:, None]
        half = buckets // 2
        exact = half // 2
        distance = relative.abs()
        scale = torch.log(distance.clamp_min(1).float() / exact) / torch.log(torch.tensor(max_distance / exact))
        far = (exact + (scale * (half - exact)).long()).clamp_max(half - 1)
        return (relative > 0).long() * half + torch.where(distance < exact, distance, far)
