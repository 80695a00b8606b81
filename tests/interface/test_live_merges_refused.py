"""Models in memory that cannot be merged: a message, and nothing changed."""

from __future__ import annotations

import pytest
import torch
from support.live import query, state
from support.models import HEADS, WIDTH
from torch import nn
from torch.nn.utils import parametrize, prune
from transformers import (
    BertConfig,
    BertModel,
    HubertForCTC,
)

import mam


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
            r"source layer 0, q: its shape is \(24, 24\) with bias \(24,\), that of the target is \(32, 32\)",
        ),
        (shallow, {}, "pairing=index: the source has 1 layers"),
        (wide, {"on_mismatch": "project", "method": "qk_product"}, "needs equally many heads, but the target has 4"),
        (lambda: nn.Linear(3, 3), {}, "source: Linear: expected one list of layers with Q, K and V"),
    ],
)
def test_sources_that_do_not_fit(target, other, options, message):
    before = state(target)
    with pytest.raises(mam.MamError, match=message):
        mam.merge(target, other(), 0.3, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    with pytest.raises(mam.MergeError, match="was not merged"):
        mam.unmerge(target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lam": 1.5}, "lam=1.5: must be from 0 to 1"),
        ({"lam": float("nan")}, "lam"),
        ({"layer": "top2"}, "layer: not an option of a merge. Choose from: align, bias"),
        ({"data": "x"}, "data: not an option of a merge"),
        ({"parts": "x"}, "parts=x"),
        ({"layers": "top9"}, "layers.spec=top9: the target has 3 layers"),
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
        ("parametrised", "layer 1, q: is parametrised, so its weight is computed in every forward pass"),
        ("pruned", "layer 1, q: is parametrised"),
        ("quantised", "is quantised, so its weights cannot be merged"),
        ("int8", "layer 1, q: has weights of torch.int8"),
        ("meta", r"q: has no values \(device meta\)"),
        ("nan", "layer 1, q: has NaN or infinite values"),
        ("inference", "layer 1, q: was created in torch.inference_mode"),
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
        with pytest.raises(mam.ConfigError, match="is not a model. Give a torch module, a hub id or a folder"):
            mam.merge(*sides)


def test_names_that_lead_nowhere(target, tmp_path):
    with pytest.raises(mam.CheckpointError, match="nowhere"):
        mam.merge(target, "nowhere/at_all")
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(mam.CheckpointError):
        mam.merge(tmp_path, target)
