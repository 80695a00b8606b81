"""HuBERT with a CTC head as a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import HubertForCTC
from transformers.masking_utils import create_bidirectional_mask

from mam.data.audio import RATE, Wave
from mam.models.targets import Hidden, SpeechTarget, speech_target


@speech_target("hubert")
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
        clips = [
            torch.from_numpy(np.asarray(clip, dtype=np.float32)).to(self.device, self.dtype) for clip in normalised
        ]
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


def _real_frames(lengths: Tensor, longest: int) -> Tensor:
    """``[b, t]``, True where a frame is not padding."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]
