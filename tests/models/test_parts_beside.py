"""Feed-forward layers, norms and decoders: the same tensors in files and in memory, for each way of naming them."""

import pytest
import torch
from support.models import make_bert, make_hubert, make_vit, make_whisper
from transformers import (
    AutoModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    DistilBertConfig,
    DistilBertModel,
    WhisperForConditionalGeneration,
)

from mam.errors import MergeError
from mam.models.live import LiveModel
from mam.models.locate import locate
from mam.models.sources import Source

ALL = ("q", "k", "v", "o", "f1", "f2", "n1", "n2")
TINY = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}


def saved(model, folder):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    return folder


MAKERS = {
    "hubert": make_hubert,
    "bert": make_bert,
    "vit": make_vit,
    "clip": lambda folder: saved(CLIPVisionModel(CLIPVisionConfig(**TINY, image_size=8, patch_size=4)), folder),
    "distilbert": lambda folder: saved(DistilBertModel(DistilBertConfig(dim=12, n_heads=3, n_layers=2)), folder),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_and_the_loaded_model_have_the_same_parts(name, tmp_path):
    folder = MAKERS[name](tmp_path / name)
    file, live = Source(locate(str(folder))), LiveModel(AutoModel.from_pretrained(folder), "source")
    assert file.shape == live.shape and file.shape.decoder == 0
    for layer in range(file.shape.layers):
        assert set(live.parts_at(layer)) == set(ALL)
        for part in ALL:
            for stored, loaded in zip(file.read(layer, part), live.read(layer, part), strict=True):
                assert torch.equal(stored, loaded), (layer, part)
    wide, narrow = file.read(0, "f1")[0].shape
    assert file.read(0, "f2")[0].shape == (narrow, wide) and file.read(0, "n1")[0].shape == (narrow,)


def test_a_decoder_is_found_by_its_cross_attention(tmp_path):
    folder = make_whisper(tmp_path / "whisper")
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    file, live = Source(locate(str(folder))), LiveModel(model, "target")
    layers = file.shape.layers
    assert file.shape == live.shape and file.shape.decoder == 2
    decoder = model.model.decoder.layers
    expected = [*((layer.self_attn, layer) for layer in decoder), *((layer.encoder_attn, layer) for layer in decoder)]
    for number, (attention, layer) in enumerate(expected, start=layers):
        for part, projection in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("o", "out_proj")):
            for side in (file, live):
                assert torch.equal(side.read(number, part)[0], getattr(attention, projection).weight)
        is_cross = attention is layer.encoder_attn
        assert set(live.parts_at(number)) == set((*ALL[:4], "n1") if is_cross else ALL)
        norm = layer.encoder_attn_layer_norm if is_cross else layer.self_attn_layer_norm
        assert torch.equal(file.read(number, "n1")[0], norm.weight)
        assert torch.equal(live.read(number, "n1")[1], norm.bias)
    for side in (file, live):
        with pytest.raises(MergeError, match="parts: f cannot be merged, since"):
            side.read(layers + 2, "f1")
