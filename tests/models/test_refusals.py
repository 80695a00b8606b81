"""Quantised checkpoints and adapters: refused by name, as target and as source, wherever they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models import HEADS, WIDTH, make_beats, make_bert, make_hubert
from support.runs import mam, pair_words
from transformers import HubertForCTC

from mam.errors import CheckpointError
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source

QUERY = {"hubert": "hubert.encoder.layers.1.attention.q_proj", "bert": "encoder.layer.1.attention.self.query"}
MAKE = {"hubert": make_hubert, "bert": make_bert}


def change(folder: Path, edit) -> None:
    """Rewrite the weights of a folder."""
    path = folder / "model.safetensors"
    save_file(edit(load_file(path)), path, metadata={"format": "pt"})


def configure(folder: Path, **values) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def as_int8(tensors, query):
    """bitsandbytes: int8 rows beside the largest magnitude of each."""
    weight = tensors[f"{query}.weight"]
    scale = weight.abs().amax(1)
    return tensors | {
        f"{query}.weight": (weight / scale[:, None] * 127).round().to(torch.int8),
        f"{query}.SCB": scale,
    }


def as_gptq(tensors, query):
    rest = {name: tensor for name, tensor in tensors.items() if name != f"{query}.weight"}
    return rest | {f"{query}.qweight": torch.zeros(4, WIDTH, dtype=torch.int32)}


def as_type(dtype, part="weight"):
    return lambda tensors, query: tensors | {f"{query}.{part}": tensors[f"{query}.{part}"].to(dtype)}


def as_lora(tensors, query):
    return {f"{query}.lora_A.weight": torch.zeros(2, WIDTH), f"{query}.lora_B.weight": torch.zeros(WIDTH, 2)}


KINDS = {
    "int8": (
        as_int8,
        r"query.SCB has dtype F32|query.weight has dtype I8|q_proj.SCB has dtype F32|q_proj.weight has dtype I8",
    ),
    "gptq": (as_gptq, "qweight has dtype I32, so its weights are quantised or not real numbers"),
    "integers": (as_type(torch.int32), "weight has dtype I32, so its weights are quantised or not real numbers"),
    "integer bias": (
        as_type(torch.int8, "bias"),
        "bias has dtype I8, so its weights are quantised or not real numbers",
    ),
    "float8": (
        as_type(torch.float8_e4m3fn),
        "weight has dtype F8_E4M3, so its weights are quantised or not real numbers",
    ),
    "complex": (as_type(torch.complex64), "weight has dtype C64, so its weights are quantised or not real numbers"),
    "lora": (as_lora, r"lora_A.weight is part of an adapter.*merge_and_unload"),
    "wrapped": (lambda t, q: {f"base_model.model.{name}": tensor for name, tensor in t.items()}, "part of an adapter"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["bert", "hubert"])
def test_tensors_that_are_no_plain_weights_are_refused(tmp_path, kind, side):
    edit, message = KINDS[kind]
    folder = MAKE[side](tmp_path / side)
    change(folder, lambda tensors: edit(tensors, QUERY[side]))
    for read in (Source, load_target) if side == "hubert" else (Source,):
        with pytest.raises(CheckpointError, match=message):
            read(locate(str(folder)))


def test_pickled_float8_is_refused(tmp_path):
    folder = make_bert(tmp_path / "b")
    tensors = as_type(torch.float8_e5m2)(load_file(folder / "model.safetensors"), QUERY["bert"])
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"query.weight has dtype torch.float8_e5m2, so its weights are quantised"
    ):
        Source(locate(str(folder)))
    beats = torch.load(make_beats(tmp_path / "beats.pt"), weights_only=True)
    query = "encoder.layers.0.self_attn.q_proj.weight"
    beats["model"][query] = beats["model"][query].to(torch.int8)
    torch.save(beats, tmp_path / "beats.pt")
    for read in (Source, lambda one: load_target(one, "features")):
        with pytest.raises(CheckpointError, match=f"{query} has dtype I8, so its weights are quantised"):
            read(locate(str(tmp_path / "beats.pt")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            r"quantization_config \(bits",
        ),
        ({"quantization_config": {"quant_method": "fp8"}}, r"quantization_config \(fp8\).*model.dequantize\(\)"),
        ({"text_config": {"quantization_config": {"bits": 4}}}, "has text_config.quantization_config, so its weights"),
    ],
)
def test_a_quantisation_that_config_json_names_is_refused(tmp_path, values, message):
    folder = make_hubert(tmp_path / "h")
    configure(folder, **values)
    for read in (Source, load_target):
        with pytest.raises(CheckpointError, match=message):
            read(locate(str(folder)))


def test_a_quantisation_in_a_file_of_its_own_is_refused(tmp_path):
    folder = make_bert(tmp_path / "b")
    (folder / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 128}))
    with pytest.raises(CheckpointError, match="has a quantize_config.json, so its weights are quantised"):
        Source(locate(str(folder)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_of_real_numbers_are_read(tmp_path, dtype):
    folder = make_bert(tmp_path / "b")
    before = load_file(folder / "model.safetensors")[f"{QUERY['bert']}.weight"]
    change(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    configure(folder, quantization_config=None)
    assert torch.equal(Source(locate(str(folder))).read(1, "q")[0], before.to(dtype).float())


def test_integers_that_are_no_weights_are_let_be(tmp_path):
    folder = make_bert(tmp_path / "b")
    change(folder, lambda tensors: tensors | {"embeddings.position_ids": torch.arange(512)[None]})
    assert Source(locate(str(folder))).heads == HEADS


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
@pytest.mark.parametrize("has_base", [True, False])
def test_folders_with_an_adapter_are_refused_before_anything_loads_them(tmp_path, monkeypatch, file, has_base):
    """Whether peft is installed changes what transformers loads; it is never asked."""
    monkeypatch.setattr(HubertForCTC, "from_pretrained", lambda *_, **__: pytest.fail("is loaded"))
    folder = make_hubert(tmp_path / "h")
    if not has_base:
        (folder / "model.safetensors").unlink()
    (folder / file).write_text("{}")
    with pytest.raises(CheckpointError, match=rf"has an adapter \({file}\).*merge_and_unload\(\).*remove {file}"):
        load_target(locate(str(folder)))


def test_adapters_of_languages_are_another_thing(tmp_path):
    """MMS keeps those as adapter.LANG.safetensors; the weights hold the one that is used."""
    folder = make_hubert(tmp_path / "h")
    save_file({"x": torch.zeros(1)}, folder / "adapter.fra.safetensors")
    assert load_target(locate(str(folder))).heads == HEADS


@pytest.mark.parametrize("verb", [["run", "lam=0.1"], ["merge", "out=out"], ["inspect"]])
@pytest.mark.parametrize("side", ["target", "source"])
def test_every_verb_refuses_them(tmp_path, hubert_group, bert, verb, side):
    folder = make_hubert(tmp_path / "t") if side == "target" else make_bert(tmp_path / "s")
    change(folder, lambda tensors: as_int8(tensors, QUERY["hubert" if side == "target" else "bert"]))
    words = pair_words(folder if side == "target" else hubert_group, folder if side == "source" else bert)
    answer = mam(*verb, *words)
    assert answer.returncode == 1 and "its weights are quantised" in answer.stderr, answer.stderr
    assert "Traceback" not in answer.stderr and not Path("out").exists() and not Path("outputs").exists()
