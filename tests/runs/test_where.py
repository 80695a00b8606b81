"""Merging more than the attention of an encoder: decoders, feed-forward layers and norms, in memory, files and runs."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support.models import LAYERS, make_bert, make_hubert
from support.runs import data_words, jobs, once, pair_words, predictions
from transformers import BertModel, WhisperForConditionalGeneration

import mam
from mam.config.merging import plan_of
from mam.errors import ConfigError, MergeError, UnfitError
from mam.evaluation.model_pair import ModelPair
from mam.evaluation.zero_shot import plan_for
from mam.merging.shape import Shape
from mam.records.learning import ChosenLam, TuneRecord
from mam.report.lambdas import lambdas_figure
from mam.runs.export import _at_lam_of
from mam.runs.shapes import with_shapes
from mam.verbs.merge import main

SPEECH = "model.decoder.layers"
PROJECTIONS = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp("bert"), layers=4)


def loaded(folder):
    return WhisperForConditionalGeneration.from_pretrained(folder)


def weights(folder):
    return BertModel.from_pretrained(folder).state_dict()


def merge_files(target, source, out, **options):
    """Run `mam merge` on two folders of any shape."""
    shapes = [f"model.{side}_shape.{key}=null" for side in ("target", "source") for key in ("layers", "width", "heads")]
    models = ["model=whisper_minilm", f"model.target={target}", f"model.source={source}", *shapes]
    return main([*models, *(f"{key}={value}" for key, value in options.items()), f"out={out}"])


@pytest.mark.parametrize(("where", "attention"), [("decoder", "self_attn"), ("cross", "encoder_attn")])
def test_a_decoder_by_hand(whisper, bert, where, attention):
    before, source = loaded(whisper).state_dict(), weights(bert)
    merged = mam.merge(loaded(whisper), bert, 0.25, where=where).state_dict()
    changed = {name for name in before if not torch.equal(before[name], merged[name])}
    expected = {
        f"{SPEECH}.{n}.{attention}.{name}.{kind}": f"encoder.layer.{n}.attention.self.{theirs}.{kind}"
        for n in range(2)
        for name, theirs in PROJECTIONS.items()
        for kind in ("weight", "bias")
        if (name, kind) != ("k_proj", "bias")  # Whisper's K has none
    }
    assert changed == set(expected)
    for own, theirs in expected.items():
        torch.testing.assert_close(merged[own], 0.75 * before[own] + 0.25 * source[theirs])


def test_feed_forward_layers_and_norms_by_hand(whisper, bert):
    before, source = loaded(whisper).state_dict(), weights(bert)
    merged = mam.merge(loaded(whisper), bert, 0.25, where="all", parts="fn").state_dict()
    places = {
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
        "self_attn_layer_norm": "attention.output.LayerNorm",
        "final_layer_norm": "output.LayerNorm",
    }
    expected = {
        f"model.{stack}.layers.{n}.{own}.{kind}": f"encoder.layer.{n}.{theirs}.{kind}"
        for stack, depth in (("encoder", 3), ("decoder", 2))
        for n in range(depth)
        for own, theirs in places.items()
        for kind in ("weight", "bias")
    }
    norm = "encoder_attn_layer_norm"
    expected |= {
        f"{SPEECH}.{n}.{norm}.{kind}": f"encoder.layer.{n}.attention.output.LayerNorm.{kind}"
        for n in range(2)
        for kind in ("weight", "bias")
    }
    for own, theirs in expected.items():
        torch.testing.assert_close(merged[own], 0.75 * before[own] + 0.25 * source[theirs])
    unchanged = {name for name in before if torch.equal(before[name], merged[name])}
    assert set(before) - unchanged <= set(expected)


@pytest.mark.parametrize(
    "control", ["none", "shrink", "random_iid", "random_spectrum", "shuffle_layers", "self", "add"]
)
def test_files_and_memory_agree_on_everything(whisper, bert, tmp_path, control):
    words = {"where": "all", "parts": "qkvofn", "control": control}
    in_memory = mam.merge(loaded(whisper), bert, 0.3, **words).state_dict()
    assert merge_files(whisper, bert, tmp_path / "merged", lam=0.3, **words) == 0
    in_file = loaded(tmp_path / "merged").state_dict()
    assert set(in_file) == set(in_memory)
    assert all(torch.equal(in_file[name], in_memory[name]) for name in in_memory)
    record = json.loads((tmp_path / "merged" / "mam_merge.json").read_text())
    assert (record["where"], record["parts"], len(record["lam"])) == ("all", "qkvofn", 7)


def test_unmerging_restores_every_part(whisper, bert):
    model = loaded(whisper)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mam.unmerge(mam.merge(model, bert, 0.4, where="all", parts="qkvofn"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_learnable_lambda_in_a_decoder(whisper, bert):
    model = loaded(whisper)
    handle = mam.learnable(model, bert, lam=0.2, where="decoder", parts="qkvfn", per="part")
    assert len(handle.lambdas()) == 2 * 7  # q, k, v, f1, f2, n1, n2 of each layer
    mel = torch.randn(1, 16, 400)
    loss = model(input_features=mel, labels=torch.tensor([[5, 6, 7]])).loss
    loss.backward()
    gradients = next(p.grad for name, p in model.named_parameters() if name.endswith("raw"))
    assert torch.isfinite(gradients).all() and (gradients != 0).all()
    handle.fold()
    merged = mam.merge(loaded(whisper), bert, 0.2, where="decoder", parts="qkvfn").state_dict()
    for name, tensor in merged.items():
        torch.testing.assert_close(model.state_dict()[name], tensor)


def test_what_does_not_fit_is_refused(whisper, bert, tmp_path):
    with pytest.raises(MergeError, match="where=decoder: the target has no decoder"):
        mam.merge(make_hubert(tmp_path / "hubert"), bert, where="decoder")
    with pytest.raises(ConfigError, match="parts=qn: control=rotate does not define a replacement for n"):
        mam.merge(loaded(whisper), bert, parts="qn", control="rotate")
    for word in ({"heads": "0"}, {"align": "procrustes"}, {"on_mismatch": "project"}):
        with pytest.raises(ConfigError, match="f cannot be merged with"):
            mam.merge(loaded(whisper), bert, parts="qf", **word)
    with pytest.raises(ConfigError, match="cross-attention has no feed-forward block"):
        mam.merge(loaded(whisper), bert, where="cross", parts="f")
    with pytest.raises(ConfigError, match="fits one basis"):
        mam.merge(loaded(whisper), bert, where="cross", align="procrustes")
    with pytest.raises(ConfigError, match="can only be measured in encoders"):
        mam.merge(loaded(whisper), bert, where="decoder", repair="logits")
    other = make_bert(tmp_path / "wide", layers=4, intermediate=64)
    with pytest.raises(MergeError, match=r"source layer 0, f1: its shape is \(64, 32\).*leave f out of parts"):
        mam.merge(loaded(whisper), other, parts="f")
    with pytest.raises(
        UnfitError, match=r"the shape of f1 in layer 0 is \[64, 32\] in the source and \[48, 32\] in the target"
    ):
        merge_files(whisper, other, tmp_path / "out", parts="f")
    assert not (tmp_path / "out").exists()


def test_a_run_predicts_what_the_merged_files_predict(polyglot, bert, clips, tmp_path):
    decoders = ["model.target_shape.decoder=2", "model.source_shape.decoder=0"]
    pair = [
        *pair_words(polyglot, bert),
        *decoders,
        *data_words(clips),
        "data.limit=4",
        "evaluate.draws=100",
        "model.language=en",
    ]
    outcome = once([*pair, "lam=0.6", "where=decoder", "parts=qkvf"])
    assert merge_files(polyglot, bert, tmp_path / "merged", lam=0.6, where="decoder", parts="qkvf") == 0
    alone = once([*pair, f"model.target={tmp_path / 'merged'}", "lam=0"])
    assert predictions(outcome) == predictions(alone) != predictions(outcome, "baseline.jsonl")
    merge = outcome.result.merge
    assert (merge.lam, merge.layers, merge.parts, merge.asked.where) == ([0, 0, 0, 0.6, 0.6], [3, 4], "qkvf", "decoder")
    assert merge.tensors == 2 * (2 + 1 + 2 + 4)  # K has no bias
    assert "attention could not" not in (outcome.folder / "result.json").read_text()
    rows = (outcome.folder / "lambda.csv").read_text().splitlines()
    assert "0,4,f2,0.6" in rows and "0,0,q,0.0" in rows


def test_searches_set_lambda_of_each_merged_layer(whisper, bert):
    config = jobs([*pair_words(whisper, bert), "where=cross", "model.target_shape.decoder=2"])[0].config
    config = replace(config, model=replace(config.model, source_shape=replace(config.model.source_shape, decoder=0)))
    target, source = (SimpleNamespace(shape=shape) for shape in (Shape(3, 32, 4, 2), Shape(4, 32, 4)))
    stub = ModelPair(target, source, SimpleNamespace(activations=None), 0.0)
    assert plan_for(config, stub, (0, 0, 0, 0, 0, 0.1, 0.3)).lams == (0, 0, 0, 0, 0, 0.1, 0.3)
    assert plan_for(config, stub, 0.2).lams == (0, 0, 0, 0, 0, 0.2, 0.2)


def test_lambda_chosen_for_each_layer_of_a_decoder_is_exported(whisper, bert, clips):
    words = [*pair_words(whisper, bert), *data_words(clips), "where=decoder", "lam=0.3"]
    outcome, (job,) = once(words), with_shapes(jobs(words))
    chosen = [0.0, 0.0, 0.0, 0.1, 0.2]
    result = replace(outcome.result, tune=TuneRecord("cmaes", [ChosenLam(None, 0.15, chosen)], [], 1.0, []))
    config, lams = _at_lam_of(job.config, result, None)
    assert lams == chosen and config.schedule.values == [0.1, 0.2]
    assert list(plan_of(config).lams) == chosen


def test_lambdas_learnt_in_feed_forward_layers_and_norms_are_drawn(lesson):
    outcome = once([*lesson, "parts=qkvfn", "train=lmam", "lam=0.3", "train.lam.per=part"])
    left, _ = lambdas_figure(outcome.folder, outcome.result).axes
    parts = 3 + 2 + 2  # q, k, v; both feed-forward layers; both norms
    assert len([line for line in left.lines if line.get_label() != "kept"]) == LAYERS * parts
