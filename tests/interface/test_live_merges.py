"""Merging models in memory: against the formula by hand, restored bit for bit, and models that cannot be merged."""

from __future__ import annotations

import copy

import pytest
import torch
from support.live import query, state
from support.models import HEADS, SOURCE_LAYERS, WIDTH
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    HubertForCTC,
    ModernBertConfig,
    ModernBertModel,
    ViTConfig,
    ViTModel,
    WhisperForConditionalGeneration,
)

import mam
from mam.models.live import LiveModel, unwrapped
from mam.models.locate import locate
from mam.models.sources import Source


def test_the_formula_by_hand_and_nothing_else_changes(target, source):
    before = state(target)
    assert mam.merge(target, source, 0.3, layers="top2", parts="qk", bias=False) is target
    changed = {name for name, tensor in target.state_dict().items() if not torch.equal(tensor, before[name])}
    expected = {f"hubert.encoder.layers.{layer}.attention.{part}_proj.weight" for layer in (1, 2) for part in "qk"}
    assert changed == expected
    theirs = source.encoder.layer[1].attention.self.key.weight
    own = before["hubert.encoder.layers.1.attention.k_proj.weight"]
    merged = target.hubert.encoder.layers[1].attention.k_proj.weight
    torch.testing.assert_close(merged, 0.7 * own + 0.3 * theirs, rtol=0, atol=1e-7)
    assert mam.unmerge(target) is target
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_files_and_models_give_the_same(target, source, hubert_group, bert):
    mam.merge(target, source, 0.2, schedule="linear", control="rotate", seed=3)
    for other in (str(bert), bert):
        loaded = mam.merge(str(hubert_group), other, 0.2, schedule={"name": "linear"}, control="rotate", seed=3)
        assert isinstance(loaded, HubertForCTC)
        ours = target.state_dict()
        assert all(torch.equal(tensor, ours[name]) for name, tensor in loaded.state_dict().items())


def test_a_copy_leaves_the_target(target, source):
    before = state(target)
    made = mam.merge(target, source, 0.5, copy=True)
    assert made is not target and type(made) is HubertForCTC
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    assert not torch.equal(query(made, 0).weight, query(target, 0).weight)
    mam.unmerge(made)
    assert torch.equal(query(made, 0).weight, query(target, 0).weight)


def test_inside_a_block_and_after_an_error(target, source):
    before = state(target)
    with mam.merged(target, source, 0.5) as model:
        assert model is target and not torch.equal(
            query(target, 0).weight, before["hubert.encoder.layers.0.attention.q_proj.weight"]
        )
    with pytest.raises(ZeroDivisionError), mam.merged(target, source, 0.5):
        1 / 0  # noqa: B018
    with mam.merged(target, source, 0.5):
        mam.unmerge(target)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_twice_in_a_row(target, source):
    mam.merge(target, source, 0.5)
    with pytest.raises(mam.MergeError, match=r"is merged already. Call mam.unmerge\(model\) first"):
        mam.merge(target, source, 0.5)
    mam.unmerge(target)
    with pytest.raises(mam.MergeError, match="was not merged by mam.merge, so there is nothing to restore"):
        mam.unmerge(target)
    mam.merge(target, source, 0.5)


def test_half_precision_is_merged_in_full(target, source):
    half = copy.deepcopy(target).to(torch.bfloat16)
    before = state(half)
    mam.merge(half, source, 0.3)
    own, theirs = (
        before["hubert.encoder.layers.0.attention.q_proj.weight"],
        source.encoder.layer[0].attention.self.query,
    )
    expected = own.float().lerp(theirs.weight, 0.3).to(torch.bfloat16)
    assert torch.equal(query(half, 0).weight, expected)
    mam.unmerge(half)
    assert all(torch.equal(tensor, before[name]) for name, tensor in half.state_dict().items())


def test_a_whisper_encoder_and_itself_as_source(whisper):
    model = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32)
    decoder = state(model.model.decoder)
    own = state(model)
    mam.merge(model, model.model.encoder, 0.4)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, own[name], rtol=1e-5, atol=1e-6)  # (1-λ) W + λ W
    assert all(torch.equal(tensor, decoder[name]) for name, tensor in model.model.decoder.state_dict().items())


def test_an_image_source_and_a_fused_one(target):
    sizes = {
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": SOURCE_LAYERS,
        "intermediate_size": 8,
    }
    vit = ViTModel(ViTConfig(**sizes, image_size=8, patch_size=4))
    own = query(target, 0).weight.detach().clone()
    mam.merge(target, vit, 0.5)
    torch.testing.assert_close(query(target, 0).weight, (own + vit.layers[0].attention.q_proj.weight) / 2)
    mam.unmerge(target)
    modern = ModernBertModel(ModernBertConfig(**sizes, vocab_size=20, pad_token_id=0))
    mam.merge(target, modern, 0.5, bias=False)
    fused = modern.layers[0].attn.Wqkv.weight[:WIDTH]
    torch.testing.assert_close(query(target, 0).weight, (own + fused) / 2)


def test_live_shapes_are_those_of_the_files(hubert_group, bert, vit, target, source):
    assert LiveModel(target, "target").shape == Source(locate(str(hubert_group))).shape
    assert LiveModel(source, "source").shape == Source(locate(str(bert))).shape


@pytest.mark.filterwarnings("ignore")  # of torch.compile about transformers
def test_compiled_and_wrapped_models(target, source):
    compiled = torch.compile(target, backend="eager")
    assert unwrapped(compiled) is target and unwrapped(nn.DataParallel(target)) is target
    wave = torch.randn(1, 4000)
    before = compiled(wave).logits
    assert mam.merge(compiled, source, 0.5) is compiled
    merged = compiled(wave).logits
    assert not torch.allclose(merged, before) and torch.equal(merged, target(wave).logits)
    mam.unmerge(compiled)
    assert torch.equal(compiled(wave).logits, before)


class Named(nn.Module):
    """Attention by names alone, without a configuration."""

    def __init__(self, heads: int | None = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(2):
            layer = nn.Module()
            layer.q_proj, layer.k_proj, layer.v_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
            if heads:
                layer.num_heads = heads
            self.layers.append(layer)


def test_modules_of_ones_own():
    target, source = Named(), Named()
    own = target.layers[1].v_proj.weight.detach().clone()
    mam.merge(target, source, 0.25)
    torch.testing.assert_close(target.layers[1].v_proj.weight, 0.75 * own + 0.25 * source.layers[1].v_proj.weight)
    with pytest.raises(mam.MergeError, match="does not state its number of attention heads"):
        mam.merge(Named(None), source)


def test_options_are_checked_against_the_models_at_hand():
    """The demo's pair has 4 layers and heads; these have 8."""
    sizes = {"hidden_size": WIDTH, "num_attention_heads": 8, "num_hidden_layers": 8, "intermediate_size": 8}
    deep, source = BertModel(BertConfig(**sizes)), BertModel(BertConfig(**sizes))
    mam.merge(deep, source, 0.1, layers="top6", heads="7", schedule={"name": "list", "values": [0.1] * 8})
    with pytest.raises(mam.MergeError, match="the target has 8 layers"):
        mam.merge(source, deep, 0.1, layers="top9")


def test_a_merge_of_a_model_with_itself_reads_it_as_it_was(target):
    copied = mam.merge(target, target, 0.5, copy=True, control="shuffle_layers")
    mam.merge(target, target, 0.5, control="shuffle_layers")
    assert all(torch.equal(a, b) for a, b in zip(copied.parameters(), target.parameters(), strict=True))


def test_a_part_of_a_merged_model_is_merged(target, source):
    before = state(target)
    mam.merge(target.hubert, source, 0.1)
    with pytest.raises(mam.MergeError, match="is merged already"):
        mam.merge(target, source, 0.1)
    mam.unmerge(target)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    mam.merge(target, source, 0.1)


def test_the_source_of_learnable_is_frozen(target, source):
    handle = mam.learnable(target, source, 0.5)
    wave = torch.ones(1, 4000)
    before = target(wave).logits
    with torch.no_grad():
        source.encoder.layer[0].attention.self.query.weight.zero_()
    assert torch.equal(target(wave).logits, before)
    handle.remove()
