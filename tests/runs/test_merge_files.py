"""`mam merge`: files to files, loadable without mam, exact, whole or not there, and small in memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models import LAYERS, WIDTH, make_bert, make_whisper
from support.runs import data_words, jobs, mam, pair_words, plan_of
from transformers import HubertForCTC

from mam.errors import MamError, RecordError
from mam.evaluation.workbench import Workbench
from mam.merging.merger import Merger
from mam.models.beats import BeatsModel
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.parents import Parents
from mam.models.sources import Source
from mam.runs.merge_files import merge_checkpoint
from mam.runs.run import run
from mam.small_files import read_jsonl


def plan(*words: str):
    shapes = ["model.target_shape.layers=3", "model.source_shape.layers=4"]
    shapes += [f"model.{side}_shape.width={WIDTH}" for side in ("target", "source")]
    config = jobs([*shapes, *words])[0].config
    return plan_of(config)


def in_memory(target: Path, source: Path, merge_plan) -> dict[str, torch.Tensor]:
    loaded = load_target(locate(str(target)))
    Merger(loaded.blocks, Source(locate(str(source))).read).apply(merge_plan)
    return loaded.model.state_dict()


@pytest.mark.parametrize(
    "words",
    [
        ["lam=0.3"],
        ["lam=1", "layers.spec=1", "parts=qv"],
        ["lam=0.4", "bias=false"],
        ["lam=0"],
        ["lam=0.3", "align=procrustes", "parts=qkvo"],
        ["lam=0.3", "align=permute", "layers.spec=0,2"],
        ["lam=0.3", "align=heads", "method=norm_matched"],
        ["lam=0.3", "method=qk_product", "heads=1"],
        ["lam=0.3", "method=slerp", "control=shuffle_layers"],
    ],
)
def test_the_file_holds_what_the_model_holds_in_memory(hubert_group, bert, tmp_path, words):
    merge_plan = plan(*words)
    report = merge_checkpoint(Parents(locate(str(hubert_group)), locate(str(bert))), merge_plan, tmp_path / "out")
    expected = in_memory(hubert_group, bert, merge_plan)
    plain = HubertForCTC.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in plain.state_dict().items())
    before, after = (load_file(folder / "model.safetensors") for folder in (hubert_group, tmp_path / "out"))
    assert list(before) == list(after)
    assert sum(not torch.equal(before[name], after[name]) for name in before) == report.tensors


@pytest.mark.parametrize("project", ["svd", "procrustes", "random"])
def test_a_source_of_another_width(hubert_group, tmp_path, project):
    """As deep as the fixture's, half as wide; the same in the file and in memory."""
    source = make_bert(tmp_path / "narrow", width=WIDTH // 2)
    words = ["on_mismatch=project", f"project={project}", f"model.source_shape.width={WIDTH // 2}"]
    merge_plan = plan("lam=0.3", "align=permute", *words)
    assert merge_plan.project == project
    merge_checkpoint(Parents(locate(str(hubert_group)), locate(str(source))), merge_plan, tmp_path / "out")
    expected = in_memory(hubert_group, source, merge_plan)
    plain = HubertForCTC.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in plain.state_dict().items())
    record = json.loads((tmp_path / "out" / "mam_merge.json").read_text())
    assert (record["align"], record["project"]) == ("permute", project)


def test_shards_pickles_and_half_precision(hubert_layer, bert, tmp_path):
    """The same weights in fp16, in shards, and pickled: merged tensors come out in fp32, the others as they were."""
    merge_plan = plan("lam=0.3")
    half = tmp_path / "half"
    shutil.copytree(hubert_layer, half)
    HubertForCTC.from_pretrained(hubert_layer, dtype=torch.float16).save_pretrained(half, max_shard_size="30KB")
    (half / "model.safetensors").unlink(missing_ok=True)
    pickled = tmp_path / "pickled"
    shutil.copytree(hubert_layer, pickled)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    for folder, exact in ((half, False), (pickled, True)):
        out = tmp_path / f"{folder.name}-merged"
        merge_checkpoint(Parents(locate(str(folder)), locate(str(bert))), merge_plan, out)
        assert not list(out.glob("*.bin"))
        checkpoint = locate(str(out))
        name = "hubert.encoder.layers.0.attention.k_proj.weight"
        assert checkpoint.read_as_stored(name).dtype == torch.float32
        assert checkpoint.read_as_stored("lm_head.weight").dtype == (torch.float32 if exact else torch.float16)
        own, other = locate(str(folder)).read([name])[name], Source(locate(str(bert))).read(0, "k")[0]
        torch.testing.assert_close(checkpoint.read([name])[name], 0.7 * own + 0.3 * other)
        assert HubertForCTC.from_pretrained(out, dtype=torch.float32) is not None
    assert len(locate(str(tmp_path / "half-merged")).weights) == len(locate(str(half)).weights) > 2


def test_whisper_drops_the_bias_without_a_place(minilm, tmp_path):
    folder = make_whisper(tmp_path / "w")
    report = merge_checkpoint(Parents(locate(str(folder)), locate(str(minilm))), plan("lam=0.3"), tmp_path / "out")
    assert report.tensors == 5 * LAYERS and report.notes[0].startswith("the source's K bias is dropped")
    names = set(load_file(tmp_path / "out" / "model.safetensors"))
    assert names == set(load_file(folder / "model.safetensors"))


def test_running_the_merged_folder_reproduces_the_run(hubert_group, bert, clips, tmp_path):
    words = pair_words(hubert_group, bert)
    merge_checkpoint(Parents(locate(str(hubert_group)), locate(str(bert))), plan("lam=0.5"), tmp_path / "out")
    merged = run(jobs([*words, *data_words(clips), "lam=0.5"])[0], Workbench())
    again = run(jobs([*pair_words(tmp_path / "out", bert), *data_words(clips), "lam=0"])[0], Workbench())
    texts = [[row["prediction"] for row in read_jsonl(o.folder / "predictions.jsonl")] for o in (merged, again)]
    assert texts[0] == texts[1]


def test_the_command_and_a_process_that_cannot_import_mam(hubert_group, bert, tmp_path):
    words = [*pair_words(hubert_group, bert), "lam=0.3"]
    made = mam("merge", *words, "out=merged")
    assert made.stdout.startswith("merged 18 tensors (9,504 parameters) into merged")
    record = json.loads(Path("merged/mam_merge.json").read_text())
    assert record["lam"] == [0.3] * 3 and record["source"]["sha256"] == locate(str(bert)).sha256
    code = (
        "import sys; sys.modules['mam'] = None\n"
        "from transformers import AutoModelForCTC, AutoProcessor\n"
        "model, info = AutoModelForCTC.from_pretrained('merged', output_loading_info=True)\n"
        "AutoProcessor.from_pretrained('merged')\n"
        "assert not info['missing_keys'] and not info['unexpected_keys'] and not info['mismatched_keys'], info"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for wrong, message in (
        ([*words, "out=merged"], "exists and is not an empty folder"),
        (words, "out: needs exactly one folder for the merged checkpoint"),
        ([*words, "out=x", "data=ljspeech"], "data=ljspeech: does not apply to mam merge, which reads no data"),
        ([*words, "out=x", "model.target_shape.heads=2"], "has heads 4, not 2 as configured"),
        ([*words, "out=x", "lam=2"], "lam=2"),
    ):
        refused = mam("merge", *wrong)
        assert refused.returncode in (1, 2) and message in refused.stderr and "Traceback" not in refused.stderr
    assert sorted(os.listdir()) == ["merged"]


def test_an_error_in_the_middle_leaves_nothing(hubert_group, bert, tmp_path, monkeypatch):
    calls = []
    original = Source.read

    def failing(self, layer, part):
        calls.append(1)
        if len(calls) > 4:
            raise MamError("the disk is gone")
        return original(self, layer, part)

    monkeypatch.setattr(Source, "read", failing)
    with pytest.raises(MamError, match="the disk is gone"):
        merge_checkpoint(
            Parents(locate(str(hubert_group)), locate(str(bert))), plan("lam=0.3"), tmp_path / "deep" / "out"
        )
    assert os.listdir(tmp_path / "deep") == []


def test_a_full_or_forbidden_disk_is_one_message(hubert_group, bert):
    with pytest.raises(RecordError, match="out=/proc/out: cannot be written"):
        merge_checkpoint(Parents(locate(str(hubert_group)), locate(str(bert))), plan("lam=0.3"), Path("/proc/out"))


@pytest.mark.slow
def test_three_gigabytes_in_shards_need_less_than_one_of_memory(tmp_path):
    """Private memory (RssAnon), watched from inside while a 3 GB checkpoint of HuBERT's layout is merged."""
    code = """
import json, sys, threading, time
from pathlib import Path
import torch
from safetensors.torch import save_file
from mam.merging.options import MergeOptions
from mam.merging.plan import plan_merge
from mam.merging.shape import Shape
from mam.runs.merge_files import merge_checkpoint
from mam.models.beats import BeatsModel
from mam.models.locate import locate
from mam.models.parents import Parents

width, layers, root = 2048, 36, Path(sys.argv[1])
for side, stack, names in (
    ("target", "hubert.encoder.layers.{}.attention.{}", ("q_proj", "k_proj", "v_proj")),
    ("source", "bert.encoder.layer.{}.attention.self.{}", ("query", "key", "value")),
):
    folder = root / side
    folder.mkdir()
    weight_map = {}
    for layer in range(layers):
        tensors = {}
        for name in names:
            tensors[stack.format(layer, name) + ".weight"] = torch.randn(width, width)
            tensors[stack.format(layer, name) + ".bias"] = torch.randn(width)
        if side == "target":
            tensors[f"hubert.encoder.layers.{layer}.feed_forward.dense.weight"] = torch.randn(4 * width, width // 2)
        shard = f"model-{layer + 1:05d}-of-{layers:05d}.safetensors"
        save_file(tensors, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    kind = "hubert" if side == "target" else "bert"
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "num_attention_heads": 16}))
del tensors
size = sum(p.stat().st_size for p in (root / "target").glob("*.safetensors"))
assert size > 3e9, size
peak, done = [0], threading.Event()
def watch():
    while not done.is_set():
        line = next(l for l in open("/proc/self/status") if l.startswith("RssAnon"))
        peak[0] = max(peak[0], int(line.split()[1]))
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
shape = Shape(layers, width, 16)
merge_checkpoint(Parents(locate(str(root / "target")), locate(str(root / "source"))),
                 plan_merge(MergeOptions(lam=0.3), shape, shape), root / "out")
done.set()
print(size, peak[0] * 1024)
"""
    shown = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    size, peak = map(int, shown.stdout.split())
    assert size > 3e9 and peak < 1e9


def test_beats_stays_in_its_original_format(beats, vit, tmp_path):
    merge_plan = plan("lam=0.3", "parts=kv")
    report = merge_checkpoint(Parents(locate(str(beats)), locate(str(vit))), merge_plan, tmp_path / "out")
    loaded = load_target(locate(str(beats)), "features")
    Merger(loaded.blocks, Source(locate(str(vit))).read).apply(merge_plan)
    expected = loaded.model.state_dict()
    written = BeatsModel.from_checkpoint(tmp_path / "out" / "beats.pt")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in written.state_dict().items())
    before, after = (torch.load(p, weights_only=True) for p in (beats, tmp_path / "out" / "beats.pt"))
    assert after["cfg"] == before["cfg"] and list(after["model"]) == list(before["model"])
    assert sum(not torch.equal(before["model"][n], after["model"][n]) for n in before["model"]) == report.tensors == 12
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["beats.pt", "mam_merge.json"]


def test_a_layer_whose_lambda_is_zero_keeps_its_bytes_and_its_dtype(hubert_group, bert, tmp_path):
    """Among others that are merged, in fp16, where a merged tensor is stored in fp32."""
    half = shutil.copytree(hubert_group, tmp_path / "half")
    tensors = load_file(half / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, half / "model.safetensors", {"format": "pt"})
    merge_plan = replace(plan("lam=0.3"), lams=(0.3, 0.0, 0.6))
    report = merge_checkpoint(Parents(locate(str(half)), locate(str(bert))), merge_plan, tmp_path / "out")
    before, after = (load_file(folder / "model.safetensors") for folder in (half, tmp_path / "out"))
    merged = {name for name, tensor in after.items() if tensor.dtype == torch.float32}
    parts = ("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias")
    assert merged == {f"hubert.encoder.layers.{layer}.attention.{part}" for layer in (0, 2) for part in parts}
    for name in before.keys() - merged:
        assert after[name].view(torch.uint8).equal(before[name].view(torch.uint8)), name
    assert (report.tensors, report.parameters) == (12, 6 * (WIDTH * WIDTH + WIDTH))


def test_the_command_counts_the_numbers_of_the_heads_that_are_merged(hubert_group, bert):
    """Two of four heads of 8: half of the rows of Q, K, V and of their biases, half of the columns of O, no bias of O.

    In each of three layers: 3 · (16 · 32 + 16) + 32 · 16 = 2,096 numbers in 7 tensors.
    """
    shown = mam("merge", *pair_words(hubert_group, bert), "lam=0.3", "parts=qkvo", "heads=0,2", "out=merged")
    assert shown.stdout.startswith("merged 21 tensors (6,288 parameters) into merged"), shown.stderr
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (hubert_group, "merged"))
    differing = [int((after[name] != before[name]).sum()) for name in before]
    assert (sum(count > 0 for count in differing), sum(differing)) == (21, 6288)
    assert json.loads(Path("merged/mam_merge.json").read_text())["tensors"] == 21
