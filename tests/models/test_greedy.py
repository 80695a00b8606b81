"""Greedy decoding writes what transformers writes."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import make_whisper
from transformers import GenerationConfig, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from mam.models.greedy import _scores, greedy, is_plain

CLIPS = 9


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_whisper(tmp_path_factory.mktemp("models") / "whisper")
    # In float64, since the two sides multiply matrices of different shapes: no rounding decides between two tokens.
    return WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float64).eval()


@pytest.fixture(scope="module")
def encoded(model):
    """States of so many clips that differ in what is written."""
    frames = model.config.max_source_positions
    made = torch.randn(CLIPS, frames, model.config.d_model, generator=torch.Generator().manual_seed(0))
    return 3 * made.double()


def of_transformers(model, encoded, prompt, changes):
    """What `generate` returns with these settings, and the settings."""
    chosen = copy.deepcopy(model.generation_config)
    for key, value in changes.items():
        setattr(chosen, key, value)
    options = {"force_unique_generate_call": True, "return_timestamps": False, "do_sample": False, "num_beams": 1}
    before, model.generation_config = model.generation_config, chosen
    try:
        return model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            decoder_input_ids=torch.tensor([prompt] * len(encoded)),
            **options,
        ), chosen
    finally:
        model.generation_config = before


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_same_tokens_as_transformers(model, encoded, data):
    """Ends, paddings, suppressed tokens and lengths of any kind; rows end at different lengths and leave."""
    tokens = st.integers(0, model.config.vocab_size - 1)
    written = greedy(model, encoded, [5, 6], model.generation_config)
    frequent = st.sampled_from(sorted(set(written[:, 2:].flatten().tolist())))
    changes = {
        "eos_token_id": data.draw(frequent | tokens),
        "pad_token_id": data.draw(tokens),
        "suppress_tokens": data.draw(st.none() | st.lists(frequent | tokens, max_size=4)),
        "begin_suppress_tokens": data.draw(st.none() | st.lists(frequent | tokens, max_size=4)),
        "max_length": data.draw(st.integers(3, 80)),
        "max_new_tokens": data.draw(st.none() | st.integers(1, 60)),
    }
    some = encoded[: data.draw(st.integers(1, CLIPS))]
    theirs, chosen = of_transformers(model, some, [5, 6], changes)
    ours = greedy(model, some, [5, 6], chosen)
    end = chosen.pad_token_id
    padded = torch.nn.functional.pad(theirs, (0, ours.shape[1] - theirs.shape[1]), value=end)
    assert ours.tolist() == padded.tolist()


def test_texts_that_have_ended_leave_the_pack(model, encoded):
    whole = greedy(model, encoded, [5, 6], model.generation_config)
    chosen = copy.deepcopy(model.generation_config)
    chosen.eos_token_id = chosen.pad_token_id = int(whole[0, 2:].mode().values)
    sizes = []
    hook = model.model.decoder.register_forward_pre_hook(
        lambda _, __, named: sizes.append(len(named["input_ids"])), with_kwargs=True
    )
    try:
        ended = greedy(model, encoded, [5, 6], chosen)
    finally:
        hook.remove()
    assert sizes[0] == CLIPS and sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 1
    for row, longer in zip(ended.tolist(), whole.tolist(), strict=True):
        length = row.index(chosen.eos_token_id) if chosen.eos_token_id in row else len(row)
        assert row[:length] == longer[:length] and set(row[length:]) <= {chosen.eos_token_id}


def test_a_clip_alone_is_written_as_in_a_pack(model, encoded):
    together = greedy(model, encoded, [5, 6], model.generation_config)
    for i in range(CLIPS):
        alone = greedy(model, encoded[i : i + 1], [5, 6], model.generation_config)
        assert alone[0].tolist() == together[i, : alone.shape[1]].tolist()


@pytest.mark.parametrize("rows", [1, 2, 8, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_scores_are_the_heads(model, rows, dtype):
    head = copy.deepcopy(model.proj_out).to(dtype)
    states = torch.randn(rows, head.in_features, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        scores = _scores(head, states)
        torch.testing.assert_close(scores, head(states).float(), rtol=1e-5, atol=1e-5)
    assert scores.dtype == torch.float32 and scores.shape == (rows, model.config.vocab_size)


@pytest.mark.parametrize(
    "changes",
    [
        {"repetition_penalty": 1.2},
        {"no_repeat_ngram_size": 3},
        {"min_new_tokens": 4},
        {"forced_eos_token_id": 3},
        {"bad_words_ids": [[4]]},
        {"eos_token_id": [3, 4]},
        {"eos_token_id": None},
        {"a_setting_of_tomorrow": 1},
        {"pad_token_id": None},
        {"max_length": "x"},
        {"max_length": None},
        {"suppress_tokens": 7},
        {"suppress_tokens": ["a"]},
        {"begin_suppress_tokens": [10**30]},
    ],
)
def test_other_settings_are_left_to_transformers(changes):
    chosen = GenerationConfig(eos_token_id=2, pad_token_id=2, max_length=9)
    for key, value in changes.items():
        setattr(chosen, key, value)
    assert not is_plain(chosen)


def test_settings_without_effect_are_plain():
    assert is_plain(
        GenerationConfig(eos_token_id=2, pad_token_id=2, max_length=9, top_k=3, num_beams=2, alignment_heads=[[1, 2]])
    )
