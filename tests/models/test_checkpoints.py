"""Checkpoints on disk: found, hashed, read tensor by tensor; and everything that can be wrong with them."""

import json
import os
import pickle
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from support.models import LAYERS, SOURCE_LAYERS, WIDTH, make_bert
from torch import nn
from transformers import BertModel

from mam.errors import CheckpointError, MergeError
from mam.models.blocks import find_blocks
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.names import names_on_disk
from mam.models.sources import Source


def expected_projection(folder: Path, layer: int, part: str):
    name = {"q": "query", "k": "key", "v": "value"}[part]
    linear = getattr(BertModel.from_pretrained(folder, dtype=torch.float32).encoder.layer[layer].attention.self, name)
    return linear.weight.detach(), linear.bias.detach()


@pytest.mark.parametrize("folder", ["bert", "minilm"])
def test_source_reads_what_transformers_loads(folder, request):
    folder = request.getfixturevalue(folder)
    source = Source(locate(str(folder)))
    assert (source.layers, source.width) == (SOURCE_LAYERS, WIDTH)
    for layer in (0, SOURCE_LAYERS - 1):
        for part in "qkv":
            for ours, theirs in zip(source.read(layer, part), expected_projection(folder, layer, part), strict=True):
                assert torch.equal(ours, theirs)


def test_sharded_half_precision_source(tmp_path, minilm):
    model = BertModel.from_pretrained(minilm, dtype=torch.float32).half()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    checkpoint = locate(str(tmp_path))
    assert len(checkpoint.weights) > 2
    weight, bias = Source(checkpoint).read(2, "k")
    assert weight.dtype == bias.dtype == torch.float32
    assert torch.equal(weight, expected_projection(minilm, 2, "k")[0].half().float())
    shard = checkpoint.weights[0]
    shard.rename(shard.with_suffix(".gone"))
    with pytest.raises(CheckpointError, match=f"shards are missing: {shard.name}"):
        locate(str(tmp_path))


def test_only_needed_tensors_are_read(minilm, monkeypatch):
    checkpoint = locate(str(minilm))
    read = []
    original = type(checkpoint).read

    def spy(self, names):
        names = list(names)
        read.extend(names)
        return original(self, names)

    monkeypatch.setattr(type(checkpoint), "read", spy)
    Source(checkpoint).read(1, "v")
    assert read == ["encoder.layer.1.attention.self.value.weight", "encoder.layer.1.attention.self.value.bias"]


def test_pickle_without_code_is_read(tmp_path, minilm):
    folder = make_bert(tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    checkpoint = locate(str(folder))
    assert not checkpoint.is_safetensors
    assert torch.equal(Source(checkpoint).read(0, "q")[0], expected_projection(minilm, 0, "q")[0])


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("owned",))


def test_pickle_with_code_is_refused_and_not_run(tmp_path):
    folder = make_bert(tmp_path / "evil")
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"x": Payload()}, file)
    with pytest.raises(CheckpointError, match="never runs code from a checkpoint"):
        _ = Source(locate(str(folder))).layers
    assert not Path("owned").exists()


def test_pickle_of_the_old_kind_is_read_and_other_things_are_not(tmp_path, minilm):
    folder = make_bert(tmp_path / "old")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(Source(locate(str(folder))).read(0, "q")[0], expected_projection(minilm, 0, "q")[0])
    torch.save([1, 2], folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="contains a list, not a mapping of names to weights"):
        _ = Source(locate(str(folder))).layers


@pytest.mark.parametrize("shard", ["../other.safetensors", "/etc/passwd", 1])
def test_shards_outside_the_folder_are_refused(tmp_path, shard):
    index = {"weight_map": {"a": shard}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="is not an index of shards"):
        locate(str(tmp_path))


def test_a_folder_has_no_revision(minilm):
    with pytest.raises(CheckpointError, match="is a folder, which has no revision 'abc'"):
        locate(str(minilm), "abc")


def test_pickled_target_loads(tmp_path, hubert_group):
    for path in hubert_group.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(hubert_group / "model.safetensors"), tmp_path / "pytorch_model.bin")
    assert load_target(locate(str(tmp_path))).depth == LAYERS


def test_truncated_safetensors(tmp_path):
    folder = make_bert(tmp_path / "cut")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="model.safetensors: is truncated or not a safetensors file"):
        Source(locate(str(folder))).read(0, "q")


def test_truncated_target(tmp_path, hubert_layer):
    for path in hubert_layer.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:-100] if path.suffix == ".safetensors" else content)
    with pytest.raises(CheckpointError, match="is truncated or not a safetensors file"):
        load_target(locate(str(tmp_path)))


def test_folder_without_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"has no weights. Expected model.safetensors .* there is: config.json"):
        locate(str(tmp_path))


def test_folder_without_config(tmp_path):
    folder = make_bert(tmp_path / "bare")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="config.json: No such file or directory. Is this a model folder"):
        Source(locate(str(folder)))


def test_missing_folder_is_not_asked_of_the_hub():
    with pytest.raises(CheckpointError, match="/no/such/folder: there is no such folder, and it is not a hub id"):
        locate("/no/such/folder")


def test_an_offline_hub_is_said_at_once(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waits to try again"))
    with pytest.raises(CheckpointError, match=r"hub cannot be reached or HF_HUB_OFFLINE is set.*hf download"):
        locate("google-bert/bert-large-uncased")


def test_hub_snapshot_is_read_at_its_revision(monkeypatch, tmp_path, minilm):
    """A snapshot in the hub cache is found without a network; the commit it resolved to is its folder."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.parent.mkdir()
    snapshot.symlink_to(minilm)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    checkpoint = locate("owner/name")
    assert checkpoint.revision == commit and Source(checkpoint).layers == SOURCE_LAYERS
    with pytest.raises(CheckpointError):
        locate("owner/name", "another-branch")


def test_unknown_source_architecture(tmp_path):
    folder = make_bert(tmp_path / "odd")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "gpt2"}))
    with pytest.raises(
        CheckpointError, match="'gpt2' is not a known source. Known: audio-spectrogram-transformer, beats, beit, bert"
    ):
        Source(locate(str(folder)))


def test_fingerprint_sees_weights_and_settings(tmp_path):
    folder = make_bert(tmp_path / "b")
    before = locate(str(folder))
    assert locate(str(folder)).fingerprint == before.fingerprint
    (folder / "vocab.txt").write_text("a\n")
    after = locate(str(folder))
    assert after.fingerprint != before.fingerprint and after.sha256 == before.sha256


def test_unknown_tensor_lists_its_neighbours(minilm):
    with pytest.raises(
        CheckpointError, match=r"has no tensor encoder.layer.9.attention.self.query.weight. Similar names: enc"
    ):
        locate(str(minilm)).read(["encoder.layer.9.attention.self.query.weight"])


def test_names_on_disk_refuses_what_it_does_not_understand():
    with pytest.raises(MergeError, match=r"expected one stack of Q, K, V tensors, found 0: \(none\)"):
        names_on_disk(["embeddings.word.weight"], "x")
    two = [f"{tower}.layers.0.self_attn.{p}_proj.weight" for tower in ("text", "vision") for p in "qkv"]
    with pytest.raises(MergeError, match=r"found 2: text.layers.N.self_attn, vision.layers.N.self_attn"):
        names_on_disk(two, "x")
    with pytest.raises(MergeError, match=r"a.1.attn lacks v"):
        names_on_disk(
            [*(f"a.0.attn.{p}_proj.weight" for p in "qkv"), "a.1.attn.q_proj.weight", "a.1.attn.k_proj.weight"], "x"
        )
    with pytest.raises(MergeError, match=r"a.0.attn lacks q, k, v"):
        names_on_disk([f"a.1.attn.{p}_proj.weight" for p in "qkv"], "x")


def test_find_blocks_names_what_it_found():
    encoder = nn.Module()
    encoder.layers = nn.ModuleList([nn.Linear(4, 12)])
    with pytest.raises(MergeError, match="expected one list of layers with Q, K and V in each, found 0"):
        find_blocks(encoder)


def test_find_blocks_refuses_projections_that_are_not_square():
    layer = nn.Module()
    layer.query, layer.key, layer.value = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 2)
    encoder = nn.Module()
    encoder.layers = nn.ModuleList([layer])
    with pytest.raises(MergeError, match=r"layer 0, k: \(2, 4\) is not square"):
        find_blocks(encoder)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_by_which_a_folder_is_named_means_the_folder(minilm, file):
    whole, named = (Source(locate(str(path))) for path in (minilm, minilm / file))
    assert named.checkpoint.weights == whole.checkpoint.weights
    assert torch.equal(named.read(1, "v")[0], whole.read(1, "v")[0])


def test_a_pickle_that_is_named_is_read_although_there_are_safetensors(tmp_path):
    folder = make_bert(tmp_path / "both")
    tensors = load_file(folder / "model.safetensors")
    torch.save({name: tensor + 1 for name, tensor in tensors.items()}, folder / "pytorch_model.bin")
    name = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(Source(locate(str(folder / "pytorch_model.bin"))).read(0, "q")[0], tensors[name] + 1)


def test_an_index_that_is_named_means_its_shards(tmp_path, minilm):
    BertModel.from_pretrained(minilm, dtype=torch.float32).save_pretrained(tmp_path, max_shard_size="20KB")
    index = locate(str(tmp_path / "model.safetensors.index.json"))
    assert index.weights == locate(str(tmp_path)).weights
    with pytest.raises(CheckpointError, match=rf"{index.weights[0].name}: is a file.* Give the folder: {tmp_path}\."):
        locate(str(index.weights[0]))


def test_other_files_are_refused_by_what_they_are(tmp_path, beats):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"is a file.*or one BEATs file.*There is no config.json beside it"):
        locate(str(tmp_path / "weights.safetensors"))
    with pytest.raises(CheckpointError, match="beats.pth: there is no such file. BEATs checkpoints"):
        locate(str(tmp_path / "beats.pth"))
    for suffix in (".pth", ".ckpt"):
        (tmp_path / f"beats{suffix}").write_bytes(beats.read_bytes())
        assert load_target(locate(str(tmp_path / f"beats{suffix}")), "features").depth == LAYERS
    (tmp_path / "beats.ckpt").unlink()
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"is a folder. Give the file in it: .*beats.pth"):
        locate(str(tmp_path))
