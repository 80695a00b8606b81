"""Greedy decoding of Whisper's texts of up to 30 s. transformers' own takes more than twice as long."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

# Settings of a generation_config.json that `greedy` obeys, or that have no effect on greedy decoding without
# timestamps. transformers decodes where there are others.
KNOWN = {
    *("max_length", "max_new_tokens", "suppress_tokens", "begin_suppress_tokens"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "prev_sot_token_id"),
    *("is_multilingual", "language", "task", "lang_to_id", "task_to_id"),
    *("alignment_heads", "median_filter_width", "max_initial_timestamp_index", "no_timestamps_token_id"),
    *("return_timestamps", "transformers_version", "use_cache", "do_sample", "num_beams", "num_return_sequences"),
    *("temperature", "top_k", "top_p", "length_penalty", "early_stopping", "cache_implementation"),
    *("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states"),
}


def is_plain(settings: Any) -> bool:
    """Return whether `greedy` obeys all of these settings of transformers, and each is of its type."""
    lengths = [length for length in (settings.max_length, settings.max_new_tokens) if length is not None]
    lists = [ids for ids in (settings.suppress_tokens, settings.begin_suppress_tokens) if ids is not None]
    if not lengths or not all(isinstance(ids, list) for ids in lists) or set(settings.to_diff_dict()) - KNOWN:
        return False
    numbers = [settings.eos_token_id, settings.pad_token_id, *lengths, *itertools.chain(*lists)]
    return all(isinstance(number, int) and abs(number) < 2**31 for number in numbers)


@torch.no_grad()
def greedy(model: Any, encoded: Tensor, prompt: Sequence[int], settings: Any) -> Tensor:
    """Return token ids ``[b, n]``: the prompt, the most probable tokens up to the end, and padding.

    Texts that have ended leave the pack when half of it has.

    Args:
        model: WhisperForConditionalGeneration.
        encoded: the output of its encoder, ``[b, t, d]``.
        prompt: tokens that every text begins with.
        settings: for which `is_plain` is true.
    """
    begin, limit = len(prompt), _limit(model, len(prompt), settings)
    vocabulary = torch.arange(model.config.vocab_size, device=encoded.device)
    never, not_first = (
        torch.isin(vocabulary, torch.tensor(ids or [], dtype=torch.long, device=encoded.device)).nonzero()[:, 0]
        for ids in (settings.suppress_tokens, settings.begin_suppress_tokens)
    )
    tokens = torch.full((len(encoded), limit), settings.pad_token_id, device=encoded.device)
    tokens[:, :begin] = torch.tensor(prompt, device=encoded.device)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    rows = torch.arange(len(encoded), device=encoded.device)  # texts that are in the pack
    unfinished = torch.ones(len(encoded), dtype=torch.bool, device=encoded.device)
    following, place = tokens[:, :begin], begin
    for place in range(begin, limit):
        states = model.model.decoder(
            input_ids=following, encoder_hidden_states=encoded, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
        scores = _scores(model.proj_out, states).index_fill_(1, never, -torch.inf)
        if place == begin:
            scores.index_fill_(1, not_first, -torch.inf)
        chosen = scores.argmax(-1)
        tokens[rows[unfinished], place] = chosen[unfinished]
        unfinished &= chosen != settings.eos_token_id
        left = int(unfinished.sum())
        if not left:
            break
        if 2 * left <= len(rows):
            stay = unfinished.nonzero()[:, 0]
            rows, encoded, chosen, unfinished = rows[stay], encoded[stay], chosen[stay], unfinished[stay]
            cache.batch_select_indices(stay)
        following = chosen[:, None]
    return tokens[:, : place + 1]


def _limit(model: Any, begin: int, settings: Any) -> int:
    """Return the largest length with the prompt, as transformers' Whisper counts it."""
    most = settings.max_length if settings.max_new_tokens is None else settings.max_new_tokens
    return min(begin + int(most), int(model.config.max_target_positions))


def _scores(head: torch.nn.Linear, states: Tensor) -> Tensor:
    """Return fp32 scores ``[b, vocabulary]`` of states ``[b, d]``."""
    if states.device.type == "cpu" and states.dtype == torch.float32 and head.bias is None:
        return (head.weight @ states.T).T  # for few rows a third of the time of the head itself
    scores: Tensor = head(states)
    return scores.float()
