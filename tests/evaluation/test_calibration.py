"""Moments of what layers hear: against plain transformers, on text, images and speech; and what cannot be measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.linalg import orthogonal_procrustes
from support.audio import noise, write_folder
from support.models import LAYERS, WIDTH, make_bert, make_hubert
from support.runs import jobs, once, pair_words, predictions
from transformers import AutoProcessor, BertModel, HubertModel, ViTModel

from mam.errors import CheckpointError, ConfigError, DataError, MergeError, UnfitError
from mam.evaluation.calibration import cross_moments, measured, moments_of_source, moments_of_target
from mam.evaluation.calibration_files import inputs_sha256
from mam.evaluation.model_pair import checked_parents
from mam.evaluation.projection_inputs import inputs_of_target
from mam.evaluation.workbench import Workbench
from mam.merging.methods import MERGES, LayerSide
from mam.merging.options import Calibration, MethodOptions
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source
from mam.records.result import plain
from mam.runs.export import export
from mam.runs.inspection import inspect
from mam.verbs import merge

SENTENCES = "a b c\nb a\n\nc c c b\n"


@pytest.fixture
def text_source(tmp_path) -> Path:
    """A tiny BERT with a tokenizer."""
    folder = make_bert(tmp_path / "text")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return folder


@pytest.fixture
def sentences(tmp_path) -> Path:
    path = tmp_path / "sentences.txt"
    path.write_text(SENTENCES)
    return path


def moments_by_hand(states: list[torch.Tensor]) -> torch.Tensor:
    rows = torch.cat([one[0] for one in states]).double()
    return rows.T @ rows / len(rows)


def test_text_by_plain_transformers(text_source, sentences):
    """The input of layer i's attention is hidden state i of transformers; [CLS] is 2, [SEP] 3."""
    model = BertModel.from_pretrained(text_source, dtype=torch.float32).eval()
    with torch.no_grad():
        ids = [[2, 5, 6, 7, 3], [2, 6, 5, 3], [2, 7, 7, 7, 6, 3]]
        outputs = [model(torch.tensor([one]), output_hidden_states=True).hidden_states for one in ids]
    found = moments_of_source(Source(locate(str(text_source))), Calibration(source=str(sentences)))
    for layer in range(len(found)):
        expected = moments_by_hand([one[layer] for one in outputs])
        for part in "qkv":
            torch.testing.assert_close(found[layer][part], expected, rtol=1e-4, atol=1e-5)
    first = moments_of_source(Source(locate(str(text_source))), Calibration(source=str(sentences), limit=1))
    torch.testing.assert_close(first[0]["q"], moments_by_hand([outputs[0][0]]), rtol=1e-4, atol=1e-5)


def test_speech_by_plain_transformers(hubert_group):
    """Clip by clip; the same as target and as source. The output projection hears what the heads put together."""
    waves = [noise(0.6, 0), noise(0.9, 1)]
    processor = AutoProcessor.from_pretrained(hubert_group)
    model = HubertModel.from_pretrained(hubert_group, dtype=torch.float32).eval()
    with torch.no_grad():
        inputs = [processor(wave, sampling_rate=16000, return_tensors="pt").input_values for wave in waves]
        outputs = [model(one, output_hidden_states=True).hidden_states for one in inputs]
    found = moments_of_target(load_target(locate(str(hubert_group)), "features"), waves)
    for layer in range(LAYERS):
        torch.testing.assert_close(
            found[layer]["k"], moments_by_hand([one[layer] for one in outputs]), rtol=1e-3, atol=1e-4
        )
        assert found[layer]["o"].shape == (WIDTH, WIDTH)


def test_images_by_plain_transformers(vit, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(2)]
    for i, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{i}.png")
    model = ViTModel.from_pretrained(vit, dtype=torch.float32, add_pooling_layer=False).eval()
    states = []
    with torch.no_grad():
        for one in pixels:
            image = torch.from_numpy(one).permute(2, 0, 1)[None].float() / 127.5 - 1
            layer, hidden = model.layers[0], model.embeddings(image)
            states.append(layer.layernorm_before(hidden))
    found = moments_of_source(Source(locate(str(vit))), Calibration(source=str(folder)))
    torch.testing.assert_close(found[0]["v"], moments_by_hand(states), rtol=1e-3, atol=1e-3)
    (folder / "2.png").write_text("no image")
    with pytest.raises(DataError, match="2.png is not an image. This source needs images"):
        moments_of_source(Source(locate(str(vit))), Calibration(source=str(folder)))


@pytest.fixture
def regmean_words(hubert_group, text_source, sentences, tmp_path) -> list[str]:
    data = write_folder(tmp_path / "data", [0.6, 1.3, 0.9, 1.3, 0.4], split=["train"] * 2 + ["test"] * 3)
    words = [*pair_words(hubert_group, text_source), "data=audiofolder", f"data.root={data}", "evaluate.draws=200"]
    return [*words, "method=regmean", f"calibration.source={sentences}"]


def test_a_run_calibrates_on_train_and_the_named_text(regmean_words, hubert_group, text_source, sentences, tmp_path):
    """The merged weights equal the formula on moments that are measured apart; the export holds the same."""
    outcome = once([*regmean_words, "lam=0.4"])
    assert outcome.result.merge.method == "regmean"
    waves = [soundfile.read(tmp_path / "data" / f"clip{i}.wav", dtype="float32")[0] for i in range(2)]
    target, source = load_target(locate(str(hubert_group))), Source(locate(str(text_source)))
    own = moments_of_target(target, waves)
    theirs = moments_of_source(source, Calibration(source=str(sentences)))
    sides = []
    for read, moments in (
        (lambda part: (target.blocks[1].projection(part).weight.detach(), None), own[1]),
        (lambda part: (source.read(1, part)[0], None), theirs[1]),
    ):
        sides.append(LayerSide({"q": read("q")}, moments=moments, options=MethodOptions(alpha=0.9)))
    expected = MERGES["regmean"](*sides, 0.4)["q"][0]
    export(outcome.folder, Path("exported"))
    written = load_file("exported/model.safetensors")["hubert.encoder.layers.1.attention.q_proj.weight"]
    torch.testing.assert_close(written, expected, rtol=1e-4, atol=1e-5)
    again = once(
        [word for word in regmean_words if not word.startswith(("method", "calibration"))]
        + [
            "model.target=exported",
            "lam=0",
        ]
    )
    assert predictions(again) == predictions(outcome)


def test_a_training_starts_from_the_same_merge(regmean_words, tmp_path):
    words = [word for word in regmean_words if not word.startswith("data.root=")]
    data = write_folder(tmp_path / "more", [0.9] * 6, split=["train"] * 2 + ["dev"] * 2 + ["test"] * 2)
    settings = ["train=finetune", "train.steps=1", "train.learning_rate=0", "train.batch_size=2", "lam=0.4"]
    trained = once([*words, f"data.root={data}", *settings])
    assert predictions(trained) == predictions(once([*words, f"data.root={data}", "lam=0.4"]))


def test_other_inputs_are_another_run(regmean_words, sentences):
    first = once([*regmean_words, "lam=0.4"])
    assert once([*regmean_words, "lam=0.4"]).status == "skipped"
    sentences.write_text(SENTENCES + "a a a\n")
    other = once([*regmean_words, "lam=0.4"])
    assert other.status == "finished" and other.result.hash != first.result.hash


def test_recordings_of_a_folder(regmean_words, tmp_path):
    bench, folder = Workbench(), write_folder(tmp_path / "heard", [0.6, 0.7])
    (folder / "metadata.csv").unlink()
    config = jobs([*regmean_words, f"calibration.audio={folder}"])[0].config
    found = bench.activations(config).moments()
    direct = moments_of_target(bench.pair(config).target, [noise(0.6, 0), noise(0.7, 1)])
    torch.testing.assert_close(found.target[0]["q"], direct[0]["q"], rtol=1e-3, atol=1e-3)
    assert bench.activations(config).moments() is found
    assert len(inputs_sha256(config.calibration)) == 2


def test_what_cannot_be_measured_is_said(regmean_words, text_source, hubert_group, vit, tmp_path):
    def source_error(words=()):
        with pytest.raises((DataError, CheckpointError, MergeError)) as caught:
            once([*regmean_words, "lam=0.4", *words])
        return str(caught.value)

    assert "calibration.source=nowhere: there is no such file" in source_error(["calibration.source=nowhere"])
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG\xff\xfe")
    assert "p.png: is not UTF-8 text" in source_error([f"calibration.source={picture}"])
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    assert "left to measure activations on" in source_error([f"calibration.source={empty}"])
    assert "not readable as audio" in source_error([f"calibration.audio={empty}"])
    partial = tmp_path / "partial"
    shutil.copytree(text_source, partial)
    kept = {n: t for n, t in load_file(partial / "model.safetensors").items() if ".attention.self." in n}
    save_file(kept, partial / "model.safetensors", metadata={"format": "pt"})
    assert "so its activations would come from random weights" in source_error([f"model.source={partial}"])
    assert "data.split=train: the split is empty" in source_error(
        [f"data.root={write_folder(tmp_path / 'test', [0.6, 0.7], split=['test'] * 2)}"]
    )
    with pytest.raises(CheckpointError, match="the inputs of O cannot be recorded"):
        measured([{"q": torch.eye(2)}], [{"q": torch.eye(2)}], "qo", ("one", "other"))


def test_sounds_whose_folds_are_all_tested_need_a_folder(event_words, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (8, 8)).save(images / "0.png")
    words = [*event_words, "method=regmean", f"calibration.source={images}", "lam=0.2"]
    with pytest.raises(
        DataError,
        match="calibration.audio=train: every fold of this data is tested in turn, so none is left for calibration",
    ):
        once(words)
    heard = write_folder(tmp_path / "heard", [0.6, 0.7])
    (heard / "metadata.csv").unlink()
    assert once([*words, f"calibration.audio={heard}"]).result.merge.method == "regmean"


def test_files_alone_do_not_serve(regmean_words, tmp_path):
    config = jobs(regmean_words)[0].config
    with pytest.raises(MergeError, match="mam inspect runs no models. Use mam run and mam export"):
        inspect(config, checked_parents(config))
    words = [word for word in regmean_words if not word.startswith(("data", "evaluate"))]
    with pytest.raises(MergeError, match="needs activations, but mam merge runs no models"):
        merge.main([*words, f"out={tmp_path / 'out'}"])
    with pytest.raises(ConfigError, match="lam: has no effect, since tune=grid chooses λ"):
        jobs([*regmean_words, "tune=grid", "lam=0.1"])


def test_a_speech_source_is_calibrated_on_recordings(hubert_group, tmp_path):
    other = make_hubert(tmp_path / "other", "layer")
    heard = write_folder(tmp_path / "heard", [0.6, 0.7])
    (heard / "metadata.csv").unlink()
    found = moments_of_source(Source(locate(str(other))), Calibration(source=str(heard)))
    direct = moments_of_target(load_target(locate(str(other)), "features"), [noise(0.6, 0), noise(0.7, 1)])
    torch.testing.assert_close(found[2]["q"], direct[2]["q"], rtol=1e-3, atol=1e-3)


def test_what_both_hear_by_plain_transformers(hubert_group, tmp_path):
    """x_t x_sᵀ of hidden states, frame by frame, of paired layers; of itself it is the moments."""
    other = make_hubert(tmp_path / "other", "layer")
    waves = [noise(0.6, 0), noise(0.9, 1)]
    states = []
    for folder in (hubert_group, other):
        model = HubertModel.from_pretrained(folder, dtype=torch.float32).eval()
        processor = AutoProcessor.from_pretrained(folder)
        with torch.no_grad():
            inputs = [processor(wave, sampling_rate=16000, return_tensors="pt").input_values for wave in waves]
            states.append([model(one, output_hidden_states=True).hidden_states for one in inputs])
    target, source = load_target(locate(str(hubert_group))), Source(locate(str(other)))
    found = cross_moments(target, source, waves, {0: 1})
    ours = torch.cat([one[0][0] for one in states[0]]).double()
    own = [block.layer_norm for block in HubertModel.from_pretrained(other, dtype=torch.float32).encoder.layers]
    theirs = torch.cat([one[1][0] for one in states[1]])  # this one normalises before its attention
    with torch.no_grad():
        theirs = own[1](theirs).double()
    torch.testing.assert_close(found[0], ours.T @ theirs / len(ours), rtol=1e-3, atol=1e-4)
    itself = cross_moments(target, Source(locate(str(hubert_group))), waves, {0: 0})
    torch.testing.assert_close(itself[0], moments_of_target(target, waves)[0]["q"])


def test_an_alignment_on_activations(hubert_group, tmp_path):
    """A run aligns with the rotation that scipy finds on what both hear; without hearing in common it is unfit."""
    other = make_hubert(tmp_path / "other", "layer")
    data = write_folder(tmp_path / "data", [0.6, 1.3, 0.9, 0.4], split=["train"] * 2 + ["test"] * 2)
    words = [*pair_words(hubert_group, other), "model.source_shape.layers=3", "data=audiofolder", f"data.root={data}"]
    words += ["evaluate.draws=200", "lam=0.4", "align=procrustes_activations"]
    outcome = once(words)
    waves = [soundfile.read(data / f"clip{i}.wav", dtype="float32")[0] for i in range(2)]
    target, source = load_target(locate(str(hubert_group))), load_target(locate(str(other)), "features")
    pairs = {i: i for i in range(LAYERS)}
    heard = [
        torch.cat([torch.cat([one[layer, "q"] for layer in pairs]) for one in inputs_of_target(model, waves)]).detach()
        for model in (target, source)
    ]
    rotation, _ = orthogonal_procrustes(heard[1].numpy(), heard[0].numpy())
    export(outcome.folder, Path("exported"))
    written = load_file("exported/model.safetensors")["hubert.encoder.layers.1.attention.v_proj.weight"]
    own, given = (model.blocks[1].v.weight.detach() for model in (target, source))
    expected = own.lerp((given.double() @ torch.from_numpy(rotation)).float(), 0.4)
    torch.testing.assert_close(written, expected, rtol=1e-3, atol=1e-4)
    assert once([*words, "control=self"]).status == "finished"
    bert_words = [*pair_words(hubert_group, make_bert(tmp_path / "bert")), *words[-6:]]
    with pytest.raises(UnfitError, match="both models must have the same kind of input, but.* reads text"):
        once([*bert_words, "data=audiofolder", f"data.root={data}"])
    with pytest.raises(MergeError, match="align=procrustes_activations: needs activations, but mam inspect runs"):
        config = jobs(words)[0].config
        inspect(config, checked_parents(config))


def test_a_recording_that_the_target_cannot_hear_is_named(beats):
    target = load_target(locate(str(beats)), "features")
    with pytest.raises(DataError, match=r"calibration: recording 2 is 0.0\d\d s long, but .* needs at least 0.\d+ s"):
        moments_of_target(target, [noise(0.6, 0), noise(0.075, 1)])


def test_alpha_and_calibration_are_recorded(regmean_words, sentences):
    merge_record = once([*regmean_words, "lam=0.4", "method.alpha=0.5"]).result.merge
    assert merge_record.alpha == 0.5
    assert plain(merge_record.calibration) == {"audio": "train", "source": str(sentences), "limit": 64}
