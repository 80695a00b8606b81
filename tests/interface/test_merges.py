"""Merging models in memory: against the formula by hand, restored bit for bit, and models that cannot be merged."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from support.models import HEADS, SOURCE_LAYERS, WIDTH
from torch import nn
from torch.nn.utils import parametrize, prune
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
from mam.models.checkpoints import locate
from mam.models.live import LiveModel, unwrapped
from mam.models.sources import Source


@pytest.fixture
def target(hubert_group: Path) -> HubertForCTC:
    return HubertForCTC.from_pretrained(hubert_group, dtype=torch.float32).eval()


@pytest.fixture
def source(bert: Path) -> BertModel:
    return BertModel.from_pretrained(bert, dtype=torch.float32)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def query(model: HubertForCTC, layer: int) -> nn.Linear:
    return model.hubert.encoder.layers[layer].attention.q_proj


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
    with pytest.raises(mam.MergeError, match=r"is merged already. Say mam.unmerge\(model\) first"):
        mam.merge(target, source, 0.5)
    mam.unmerge(target)
    with pytest.raises(mam.MergeError, match="is not merged by mam.merge"):
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
    with pytest.raises(mam.MergeError, match="says nowhere how many heads"):
        mam.merge(Named(None), source)


def wide() -> BertModel:
    return BertModel(BertConfig(hidden_size=24, num_attention_heads=2, num_hidden_layers=4, intermediate_size=8))


def shallow() -> BertModel:
    return BertModel(BertConfig(hidden_size=WIDTH, num_attention_heads=HEADS, num_hidden_layers=1, intermediate_size=8))


@pytest.mark.parametrize(
    ("other", "options", "message"),
    [
        (
            wide,
            {},
            r"source layer 0, q: is \(24, 24\) with bias \(24,\), the target's is \(32, 32\). Widths must agree",
        ),
        (shallow, {}, "pairing=index: the source has 1 layers"),
        (wide, {"on_mismatch": "project", "method": "qk_product"}, "pairs head with head, but the target has 4"),
        (lambda: nn.Linear(3, 3), {}, "source: Linear: expected one list of layers with Q, K and V"),
    ],
)
def test_sources_that_do_not_fit(target, other, options, message):
    before = state(target)
    with pytest.raises(mam.MamError, match=message):
        mam.merge(target, other(), 0.3, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    with pytest.raises(mam.MergeError, match="is not merged"):
        mam.unmerge(target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lam": 1.5}, "lam=1.5: must be from 0 to 1"),
        ({"lam": float("nan")}, "lam"),
        ({"layer": "top2"}, "layer: no option of a merge. The options are align, bias"),
        ({"data": "x"}, "data: no option of a merge"),
        ({"parts": "x"}, "parts=x"),
        ({"layers": "top9"}, "layers.spec=top9: the target has 4 layers"),
        ({"method": "magic"}, "method=magic: not known"),
        ({"method": {"name": "regmean"}, "calibration": {"source": "x"}}, "needs activations on recordings"),
        ({"align": "procrustes_activations"}, "needs activations on recordings"),
    ],
)
def test_options_that_are_refused(target, source, options, message):
    with pytest.raises(mam.MamError, match=message):
        mam.merge(target, source, **options)


def spoiled(kind: str, model: HubertForCTC) -> HubertForCTC:
    linear = query(model, 1)
    if kind == "parametrised":
        parametrize.register_parametrization(linear, "weight", nn.Identity())
    elif kind == "pruned":
        prune.l1_unstructured(linear, "weight", 0.5)
    elif kind == "quantised":
        model.config.quantization_config = {"quant_method": "x"}
    elif kind == "int8":
        linear.weight = nn.Parameter(linear.weight.detach().to(torch.int8), requires_grad=False)
    elif kind == "meta":
        model = model.to("meta")
    elif kind == "nan":
        linear.weight.data[0, 0] = float("nan")
    elif kind == "inference":
        with torch.inference_mode():
            linear.weight = nn.Parameter(torch.randn(WIDTH, WIDTH))
    return model


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("parametrised", "layer 1, q: is parametrised, its weight is computed anew in each pass"),
        ("pruned", "layer 1, q: is parametrised"),
        ("quantised", "is quantised, its weights are not the numbers it computes with"),
        ("int8", "layer 1, q: has weights of torch.int8"),
        ("meta", r"q: has no values \(device meta\)"),
        ("nan", "layer 1, q: has NaN or infinite values"),
        ("inference", r"layer 1, q: was made in torch.inference_mode\(\)"),
    ],
)
@pytest.mark.parametrize("side", ["target", "source"])
def test_models_whose_weights_cannot_be_merged(target, source, hubert_group, kind, message, side):
    bad = spoiled(kind, HubertForCTC.from_pretrained(hubert_group, dtype=torch.float32))
    with pytest.raises(mam.MamError, match=message) as caught:
        mam.merge(*((bad, source) if side == "target" else (target, bad)), 0.3)
    assert side in str(caught.value)


def test_what_is_no_model(target):
    for sides in ((3, target), (target, None), ({}, target)):
        with pytest.raises(mam.ConfigError, match="is no model. Give a module, a hub id or a folder"):
            mam.merge(*sides)


def test_names_that_lead_nowhere(target, tmp_path):
    with pytest.raises(mam.CheckpointError, match="nowhere"):
        mam.merge(target, "nowhere/at_all")
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(mam.CheckpointError):
        mam.merge(tmp_path, target)
