"""One experiment end to end on tiny pairs: what is written, what is skipped, what is computed once."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.audio import write_folder
from support.models import HEADS, LAYERS, SOURCE_LAYERS, WIDTH, make_hubert, make_whisper
from support.runs import data_words, jobs, once, pair_words, plan_of, predictions
from transformers import ViTConfig, ViTModel

from mam.config.studies import study_jobs
from mam.errors import DataError
from mam.evaluation.attention_statistics import CLIPS
from mam.evaluation.workbench import Workbench
from mam.records.reading import read_result
from mam.scoring.significance import paired_difference
from mam.scoring.wer import error_counts, errors
from mam.small_files import read_jsonl
from mam.studies.execute import execute, study_folder


def test_a_run_writes_everything_the_design_promises(words):
    outcome = once([*words, "lam=0.4", "layers.spec=1-2", "parts=qv"])
    folder = outcome.folder
    assert folder.parent.parent == Path("outputs") and folder.name.endswith(outcome.result.signature)
    assert sorted(os.listdir(folder)) == [
        ".hydra",
        "attention.csv",
        "baseline.jsonl",
        "lambda.csv",
        "mam.log",
        "predictions.jsonl",
        "result.json",
    ]
    assert sorted(os.listdir(folder / ".hydra")) == ["config.yaml", "hydra.yaml", "overrides.yaml"]
    lines = (folder / "lambda.csv").read_text().splitlines()
    assert lines[:4] == [
        "step,layer,part,lam",
        "0,0,q,0.0",
        "0,0,v,0.0",
        "0,1,q,0.4",
    ]
    result = read_result(folder)
    assert result == outcome.result
    assert result.merge.lam == [0.0, 0.4, 0.4] and result.merge.layers == [1, 2]
    assert (result.merge.parts, result.merge.pairs) == ("qv", {"1": 1, "2": 2})
    assert result.data.n == 5 and result.data.seconds == pytest.approx(4.5)
    assert list(read_jsonl(folder / "predictions.jsonl")[0]) == ["id", "audio", "duration", "reference", "prediction"]


def test_equal_content_under_another_name_is_told_apart(words, clips):
    """The workbench shares what it made by content; the record still says which data set and split was asked for."""
    ids = clips / "ids.txt"
    ids.write_text("\n".join(f"clip{i}" for i in range(5)))
    bench = Workbench()
    first = once(words, bench).result.data
    second = once([*words, "data.split=test", f"data.ids.test={ids}", "data.name=other"], bench).result.data
    assert first.sha256 == second.sha256
    assert [first.name, first.split, second.name, second.split] == ["audiofolder", "all", "other", "test"]
    assert second.rule == "ids as listed in ids.txt"


def test_the_numbers_follow_from_the_predictions(words):
    """Delta and rates again, by hand from the two jsonl files."""
    outcome = once([*words, "lam=0.6", "data.normalizer=none"])
    merged, baseline = (read_jsonl(outcome.folder / name) for name in ("predictions.jsonl", "baseline.jsonl"))
    references = [row["reference"] for row in merged]
    new, old = (error_counts(references, [row["prediction"] for row in side], "word") for side in (merged, baseline))
    lengths = np.array([len(reference.split()) for reference in references])
    expected = paired_difference(errors(new), errors(old), lengths)
    result = outcome.result
    assert result.metrics.wer == errors(new).sum() / lengths.sum()
    assert result.baseline.wer == errors(old).sum() / lengths.sum()
    assert result.delta.absolute == expected.absolute and result.delta.p_value == expected.p_value
    assert predictions(outcome) != predictions(outcome, "baseline.jsonl")


def test_lambda_zero_is_the_baseline_exactly(words):
    outcome = once([*words, "lam=0"])
    assert (outcome.folder / "predictions.jsonl").read_bytes() == (outcome.folder / "baseline.jsonl").read_bytes()
    assert outcome.result.delta.absolute == 0 and outcome.result.merge.tensors == 0


def test_lambda_zero_after_another_lambda_is_the_baseline_too(words):
    """Not only by short cut: computed again after the model was merged at another λ."""
    bench, config = Workbench(), jobs([*words, "lam=0.5"])[0].config
    base, merger = bench.baseline(config, 0), bench.pair(config).merger
    merger.apply(plan_of(config))
    assert bench.predict(config, 0, "merged").items != base.items
    merger.apply(plan_of(replace(config, lam=0.0)))
    assert bench.predict(config, 0, "restored").items == base.items


def test_lambda_one_equals_a_target_built_with_the_sources_attention(words, hubert_group, bert, clips, tmp_path):
    """The same checkpoint with Q, K and V exchanged in the file, run as an unmerged target."""
    built = tmp_path / "built"
    shutil.copytree(hubert_group, built)
    tensors, source = load_file(built / "model.safetensors"), load_file(bert / "model.safetensors")
    for layer in range(LAYERS):
        for ours, theirs in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            for kind in ("weight", "bias"):
                name = f"hubert.encoder.layers.{layer}.attention.{ours}.{kind}"
                assert name in tensors
                tensors[name] = source[f"bert.encoder.layer.{layer}.attention.self.{theirs}.{kind}"]
    save_file(tensors, built / "model.safetensors", metadata={"format": "pt"})
    merged = once([*words, "lam=1"])
    unmerged = once([*pair_words(built, bert), *data_words(clips), "lam=0"])
    assert predictions(merged) == predictions(unmerged)
    assert predictions(merged) != predictions(once([*words, "lam=0"]))


def test_finished_runs_are_skipped_until_something_changes(words, clips):
    first = once(words)
    again = once(words)
    assert (again.status, again.folder, again.result) == ("skipped", first.folder, first.result)
    assert once([*words, "lam=0.3"]).status == "finished"
    content = bytearray((clips / "clip2.wav").read_bytes())
    content[-1] ^= 1
    (clips / "clip2.wav").write_bytes(content)
    assert once(words).status == "finished"
    forced = once([*words, "force=true"])
    assert forced.status == "finished" and forced.folder != first.folder


def test_a_changed_checkpoint_is_run_again(bert, clips, tmp_path):
    target = make_hubert(tmp_path / "t")
    words = [*pair_words(target, bert), *data_words(clips)]
    once(words)
    tensors = load_file(target / "model.safetensors")
    tensors["lm_head.bias"][0] += 1
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    assert once(words).status == "finished"


def test_same_bytes_cached_or_not_alone_or_after_others(words, monkeypatch, tmp_path):
    """Predictions do not depend on what ran before in the process, nor on the caches."""
    bench = Workbench()
    for lam in ("0.9", "0.2"):
        once([*words, f"lam={lam}"], bench)
    warm = once([*words, "lam=0.5", "layers=top2"], bench)
    monkeypatch.setenv("MAM_CACHE", str(tmp_path / "other-cache"))
    cold = once([*words, "lam=0.5", "layers=top2", "evaluate.memory_gb=0", "force=true", "outputs=cold"])
    for name in ("predictions.jsonl", "baseline.jsonl", "lambda.csv"):
        assert (warm.folder / name).read_bytes() == (cold.folder / name).read_bytes()


def test_another_packing_gives_the_same_text(words):
    one, many = (once([*words, "lam=0.5", f"evaluate.batch_seconds={s}"]) for s in (1, 100))
    assert predictions(one) == predictions(many)


def test_whisper_runs_with_a_recording_over_thirty_seconds(tmp_path, minilm):
    root = write_folder(tmp_path / "long", [1.0, 33.0, 0.5])
    target = make_whisper(tmp_path / "w")
    outcome = once([*pair_words(target, minilm, 2 * HEADS), *data_words(root), "lam=0.3"])
    assert outcome.result.merge.notes == [
        "heads differ: the target has 4 heads of 8, the source has 8 heads of 4; the shapes agree nevertheless",
        "the source's K bias is dropped, since the target's K has none (this has no effect after softmax)",
    ]
    assert len(predictions(outcome)) == 3


def test_a_vision_transformers_folder_is_a_source_like_any_other(hubert_group, clips, tmp_path):
    """Its tensors have other names on disk than in the loaded model."""
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=SOURCE_LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        image_size=16,
        patch_size=8,
    )
    ViTModel(config).save_pretrained(tmp_path / "vit")
    outcome = once([*pair_words(hubert_group, tmp_path / "vit"), *data_words(clips), "lam=1"])
    assert outcome.result.merge.tensors == 18 and outcome.result.merge.notes == []
    assert predictions(outcome) != predictions(outcome, "baseline.jsonl")


def test_each_run_of_a_sweep_goes_to_its_own_outputs(words):
    plan = jobs([*words, "outputs=one,two", "control=none"], multirun=True)
    ended = execute(plan, Workbench(), study_folder(plan, "multirun"))
    assert [end.outcome.folder.parts[0] for end in ended] == ["one", "two"]


def test_a_study_runs_on_one_workbench(words):
    (study,) = jobs([*words, "experiment=lambda_grid", "study.axes.lam=[0,0.2,0.7]"])
    bench = Workbench()
    ended = execute(study_jobs(study), bench, Path("grid"))
    assert [end.outcome.status for end in ended] == ["finished"] * 5
    assert len({end.outcome.folder.parent for end in ended}) == 1
    prefix = bench.prefix(study.config)  # the one that the runs used
    assert prefix.computed == 1 + CLIPS  # one pack, and clips whose attention is looked at; five runs and a baseline
    again = execute(study_jobs(study), bench, Path("grid"))
    assert [end.outcome.status for end in again] == ["skipped"] * 5


def test_clusters_are_speakers_where_asked(hubert_group, bert, tmp_path):
    root = write_folder(tmp_path / "s", [0.6, 0.7, 0.5, 0.8], speaker=["a", "a", "b", "b"])
    words = [*pair_words(hubert_group, bert), *data_words(root), "data.clusters=speaker"]
    outcome = once(words)
    assert outcome.result.delta.clusters == 2 and "2 speakers" in outcome.result.delta.test
    plain = write_folder(tmp_path / "p", [0.6])
    with pytest.raises(DataError, match="clip0 have no speaker"):
        once([*pair_words(hubert_group, bert), *data_words(plain), "data.clusters=speaker"])


def test_bf16_runs(words):
    outcome = once([*words, "dtype=bfloat16", "lam=0.5"])
    assert outcome.result.env.dtype == "bfloat16" and len(predictions(outcome)) == 5


def test_threads_are_set_and_recorded(words):
    before = torch.get_num_threads()
    try:
        assert once([*words, "threads=1"]).result.env.threads == 1
    finally:
        torch.set_num_threads(before)


def test_time_is_told(words):
    start = time.perf_counter()
    timing = once(words).result.timing
    assert 0 < timing.evaluate <= time.perf_counter() - start
    assert timing.prefix > 0
    assert timing.audio_seconds == pytest.approx(4.5)
    assert timing.rtfx == pytest.approx(4.5 / timing.evaluate, rel=0.05)


def test_a_caveat_of_the_data_is_for_targets_that_it_is_about(words):
    """The note on LibriVox stands beside targets that were pre-trained on it, and beside no other."""
    note = ["data.note=from LibriVox", "data.recorded_from=librivox", "lam=0"]
    assert "from LibriVox" not in once([*words, *note]).result.diagnostics
    heard = once([*words, *note, "model.pretrained_on=[librivox]"])
    assert heard.result.diagnostics[-1] == "from LibriVox"
    assert once([*words, *note[:1], "lam=0"]).result.diagnostics[-1] == "from LibriVox"
    paper = jobs(["model=hubert_bert", "data=ljspeech"])[0].config
    whisper = jobs(["model=whisper_minilm", "data=ljspeech"])[0].config
    assert paper.data.recorded_from in paper.model.pretrained_on and not whisper.model.pretrained_on
