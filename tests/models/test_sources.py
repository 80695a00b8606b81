"""Every source architecture: its projections read from the file are those of the loaded model, and merge as by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.audio import noise
from support.merging import linear_plan
from support.models import HEADS, LAYERS, WIDTH, make_hubert, make_whisper, widen
from transformers import AutoProcessor, HubertForCTC

from mam.errors import CheckpointError, MergeError
from mam.merging.merger import Merger
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import SOURCES, Source

SHAPE = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 48}
TEXT = SHAPE | {"vocab_size": 50}
IMAGE = SHAPE | {"image_size": 16, "patch_size": 8}
CONV = SHAPE | {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
SPECIALS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "cls_token_id": 2, "sep_token_id": 1}
DISTIL = {"vocab_size": 50, "dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": 48}
AST = SHAPE | {"max_length": 32, "num_mel_bins": 16, "patch_size": 8, "frequency_stride": 8, "time_stride": 8}
TOWERS = {"text_config": TEXT, "vision_config": IMAGE}
FLEXIBLE = {"num_patches": 4, "patch_size": 8}
SELF, PROJ = ("query", "key", "value"), ("q_proj", "k_proj", "v_proj")
# model class -> config options, where its layers are, where a layer keeps Q, K and V
FAMILIES = {
    "BertModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "RobertaModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "XLMRobertaModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "MPNetModel": (TEXT, "encoder.layer", "attention.attn", ("q", "k", "v")),
    "DistilBertModel": (DISTIL, "transformer.layer", "attention", ("q_lin", "k_lin", "v_lin")),
    "ModernBertModel": (TEXT | SPECIALS, "layers", "attn", None),
    "CamembertModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "Data2VecTextModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "ElectraModel": (TEXT | {"embedding_size": 16}, "encoder.layer", "attention.self", SELF),
    "ErnieModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "EsmModel": (TEXT | {"pad_token_id": 1, "mask_token_id": 2}, "encoder.layer", "attention.self", SELF),
    "MegatronBertModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "RobertaPreLayerNormModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "XLMRobertaXLModel": (TEXT, "encoder.layer", "attention.self", SELF),
    "XmodModel": (TEXT | {"languages": ["en_XX"]}, "encoder.layer", "attention.self", SELF),
    "CLIPTextModel": (TEXT | SPECIALS, "encoder.layers", "self_attn", PROJ),
    "ViTModel": (IMAGE, "layers", "attention", PROJ),
    "DeiTModel": (IMAGE, "layers", "attention", PROJ),
    "Dinov2Model": (IMAGE, "encoder.layer", "attention", PROJ),
    "Dinov2WithRegistersModel": (IMAGE, "encoder.layer", "attention", PROJ),
    "DINOv3ViTModel": (IMAGE | {"num_register_tokens": 2}, "model.layer", "attention", PROJ),
    "ViTMAEModel": (IMAGE, "layers", "attention", PROJ),
    "ViTMSNModel": (IMAGE, "layers", "attention", PROJ),
    "IJepaModel": (IMAGE, "layers", "attention", PROJ),
    "BeitModel": (IMAGE, "layers", "attention", PROJ),
    "Data2VecVisionModel": (IMAGE, "encoder.layer", "attention.attention", SELF),
    "CLIPVisionModel": (IMAGE, "encoder.layers", "self_attn", PROJ),
    "CLIPModel": (TOWERS, "vision_model.encoder.layers", "self_attn", PROJ),
    "SiglipVisionModel": (IMAGE, "encoder.layers", "self_attn", PROJ),
    "SiglipModel": (TOWERS, "vision_model.encoder.layers", "self_attn", PROJ),
    "Siglip2VisionModel": (SHAPE | FLEXIBLE, "encoder.layers", "self_attn", PROJ),
    "Siglip2Model": (
        {"text_config": TEXT, "vision_config": SHAPE | FLEXIBLE},
        "vision_model.encoder.layers",
        "self_attn",
        PROJ,
    ),
    "HubertModel": (CONV, "encoder.layers", "attention", PROJ),
    "Wav2Vec2Model": (CONV, "encoder.layers", "attention", PROJ),
    "UniSpeechModel": (CONV, "encoder.layers", "attention", PROJ),
    "UniSpeechSatModel": (CONV, "encoder.layers", "attention", PROJ),
    "WavLMModel": (CONV, "encoder.layers", "attention", PROJ),
    "Data2VecAudioModel": (CONV | {"num_conv_pos_embeddings": 5}, "encoder.layers", "attention", PROJ),
    "Wav2Vec2ConformerModel": (CONV, "encoder.layers", "self_attn", ("linear_q", "linear_k", "linear_v")),
    "Wav2Vec2BertModel": (SHAPE, "encoder.layers", "self_attn", ("linear_q", "linear_k", "linear_v")),
    "ASTModel": (AST, "layers", "attention", PROJ),
}
# the projection of the attention's output: the first module of a layer that is called so
OUTPUTS = ("attn.out_proj", "attention.out_proj", "o_proj", "attention.output.dense", "attn.o", "out_lin", "linear_out")
OLD_NAMES = ("ViTModel", "DeiTModel", "Dinov2Model", "Dinov2WithRegistersModel", "ASTModel", "ViTMAEModel")
OLD_NAMES += ("ViTMSNModel", "IJepaModel", "BeitModel", "Data2VecVisionModel")
NO_KEY_BIAS = ("BeitModel", "Data2VecVisionModel", "DINOv3ViTModel", "ModernBertModel")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A tiny random model of one architecture: its folder and, per layer, weights and biases of the loaded modules."""
    options, stack, attention, names = FAMILIES[request.param]
    kind = request.param.removesuffix("Model")
    config = getattr(transformers, f"{kind}Config")(**options)
    torch.manual_seed(0)
    model = getattr(transformers, request.param)(config).eval()
    widen(model, 7)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    expected = []
    for layer in model.get_submodule(stack):
        block = layer.get_submodule(attention)
        if names is None:
            weights = block.Wqkv.weight.detach().chunk(3)
            expected.append({part: (weight, None) for part, weight in zip("qkv", weights, strict=True)})
            expected[-1]["o"] = (block.Wo.weight.detach(), None)
        else:
            linears = [getattr(block, name) for name in names]
            linears.append(next(module for name, module in layer.named_modules() if name.endswith(OUTPUTS)))
            expected.append({p: (x.weight.detach(), x.bias) for p, x in zip("qkvo", linears, strict=True)})
    return request.param, folder, expected


def test_read_from_the_file_as_loaded_by_transformers(family):
    name, folder, expected = family
    source = Source(locate(str(folder)))
    assert (source.layers, source.width, source.heads) == (LAYERS, WIDTH, HEADS)
    for layer in range(LAYERS):
        for part in "qkvo":
            weight, bias = source.read(layer, part)
            assert torch.equal(weight, expected[layer][part][0]) and weight.dtype == torch.float32
            assert (bias is None) == (expected[layer][part][1] is None)
            assert bias is None or torch.equal(bias, expected[layer][part][1])
    assert (source.read(0, "k")[1] is None) == (name in NO_KEY_BIAS)
    assert source.attention_class != "unknown"
    on_disk = set(load_file(folder / "model.safetensors"))
    assert ("encoder.layer.0.attention.attention.query.weight" in on_disk) == (name in OLD_NAMES)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_merged_logits_equal_plain_transformers(family, hubert_group, lam):
    _, folder, expected = family
    plain, wave = HubertForCTC.from_pretrained(hubert_group, dtype=torch.float32).eval(), noise(0.7, 3)
    with torch.no_grad():
        for layer, parts in zip(plain.hubert.encoder.layers, expected, strict=True):
            for part, (weight, bias) in parts.items():
                linear = getattr(layer.attention, "out_proj" if part == "o" else f"{part}_proj")
                linear.weight.copy_((1 - lam) * linear.weight + lam * weight)
                linear.bias.copy_((1 - lam) * linear.bias + (0 if bias is None else lam * bias))
    target = load_target(locate(str(hubert_group)))
    plan = replace(linear_plan(lam), parts=("q", "k", "v", "o"))
    Merger(target.blocks, Source(locate(str(folder))).read).apply(plan)
    inputs = AutoProcessor.from_pretrained(hubert_group)(wave, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        ours = target.logits(target.advance(target.front([wave]), 0, LAYERS))[0]
        torch.testing.assert_close(ours, plain(inputs.input_values).logits[0], rtol=0, atol=5e-5)


def test_the_decoder_of_a_pre_trained_mae_is_not_its_encoder(tmp_path):
    small = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 2}
    model = transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**IMAGE, **small))
    model.save_pretrained(tmp_path)
    source = Source(locate(str(tmp_path)))
    assert (source.layers, source.width) == (LAYERS, WIDTH)
    assert torch.equal(source.read(2, "v")[0], model.vit.layers[2].attention.v_proj.weight)


def test_whisper_gives_its_encoder(tmp_path):
    folder = make_whisper(tmp_path)
    source, tensors = Source(locate(str(folder))), load_file(folder / "model.safetensors")
    assert (source.layers, source.heads) == (LAYERS, HEADS)
    weight, bias = source.read(1, "k")
    assert torch.equal(weight, tensors["model.encoder.layers.1.self_attn.k_proj.weight"]) and bias is None


def test_a_model_with_its_head_is_read_below_its_prefix(hubert_layer):
    """As published: every tensor of the backbone stands below ``hubert.``."""
    assert Source(locate(str(hubert_layer))).layers == LAYERS


def test_every_registered_source_is_tested():
    tested = {getattr(transformers, f"{name.removesuffix('Model')}Config").model_type for name in FAMILIES}
    assert tested | {"whisper", "beats"} == set(SOURCES)


def test_a_fused_tensor_of_a_wrong_size_is_named(tmp_path):
    model = transformers.ModernBertModel(transformers.ModernBertConfig(**TEXT, **SPECIALS))
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["layers.0.attn.Wqkv.weight"] = torch.zeros(2 * WIDTH, WIDTH)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(
        MergeError, match=r"layers.0.attn.Wqkv.weight is \(64, 32\), not three times as many rows as columns"
    ):
        Source(locate(str(tmp_path))).read(0, "q")


@pytest.mark.parametrize(
    ("folder", "settings", "heads"),
    [
        ("clip", {"model_type": "clip", "vision_config": {"hidden_size": 48}}, 12),
        ("clip", {"model_type": "clip"}, 12),
        ("siglip", {"model_type": "siglip", "vision_config": {"num_attention_heads": 2}}, 2),
        ("siglip", {"model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"}}, 12),
        ("bert", {"model_type": "bert"}, 12),
        ("distilbert", {"model_type": "distilbert", "num_attention_heads": 6}, 6),
        ("whisper", {"model_type": "whisper"}, 6),
    ],
)
def test_what_config_json_leaves_out_is_the_default_of_its_class(tmp_path, folder, settings, heads):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert Source(locate(str(tmp_path))).heads == heads, folder


def test_a_configuration_that_describes_no_model_is_refused(tmp_path):
    folder = make_hubert(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    for wrong in ({"hidden_size": "wide"}, {"num_attention_heads": 5}):
        (folder / "config.json").write_text(json.dumps({**settings, **wrong}))
        with pytest.raises(CheckpointError, match="config.json"):
            _ = Source(locate(str(folder))).attention_class


def test_heads_that_are_not_said_are_asked_for(tmp_path):
    folder = make_hubert(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "num_attention_heads": "many"}))
    with pytest.raises(CheckpointError, match="num_attention_heads in its config.json is .many.. It must be 1 or more"):
        _ = Source(locate(str(folder))).heads
