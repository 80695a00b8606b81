"""One experiment end to end on tiny pairs: what is written, what is skipped, what a killed or broken run leaves."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import (
    HEADS,
    LAYERS,
    SOURCE_LAYERS,
    WIDTH,
    data_words,
    make_bert,
    make_hubert,
    make_whisper,
    pair_words,
    write_folder,
)
from safetensors.torch import load_file, save_file
from transformers import ViTConfig, ViTModel

from mam.compose import jobs, study_jobs
from mam.errors import CheckpointError, DataError, MamError, RecordError
from mam.evaluation.workbench import Workbench
from mam.files import read_jsonl
from mam.merge.plan import plan_merge
from mam.record import find_finished, read_result, validate
from mam.rescore import rescore
from mam.run import run
from mam.scoring.significance import paired_bootstrap
from mam.scoring.wer import error_counts, errors
from mam.studies.execute import execute


@pytest.fixture
def words(hubert_group, bert, clips):
    return [*pair_words(hubert_group, bert), *data_words(clips)]


def once(words, bench=None, **kwargs):
    return run(jobs(words)[0], bench or Workbench(), **kwargs)


def predictions(outcome, name="predictions.jsonl"):
    return [row["prediction"] for row in read_jsonl(outcome.folder / name)]


def test_a_run_writes_everything_the_design_promises(words):
    outcome = once([*words, "lam=0.4", "layers.spec=1-2", "parts=qv"])
    folder = outcome.folder
    assert folder.parent.parent == Path("outputs") and folder.name.endswith(outcome.result["signature"])
    assert sorted(os.listdir(folder)) == [
        ".hydra",
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
    assert result["merge"]["lam"] == [0.0, 0.4, 0.4] and result["merge"]["layers"] == [1, 2]
    assert (result["merge"]["parts"], result["merge"]["pairs"]) == ("qv", {"1": 1, "2": 2})
    assert result["data"]["n"] == 5 and result["data"]["seconds"] == pytest.approx(4.5)
    assert list(read_jsonl(folder / "predictions.jsonl")[0]) == ["id", "audio", "duration", "reference", "prediction"]


def test_the_numbers_follow_from_the_predictions(words):
    """Delta and rates again, by hand from the two jsonl files."""
    outcome = once([*words, "lam=0.6", "data.normalizer=none"])
    merged, baseline = (read_jsonl(outcome.folder / name) for name in ("predictions.jsonl", "baseline.jsonl"))
    references = [row["reference"] for row in merged]
    new, old = (error_counts(references, [row["prediction"] for row in side], "word") for side in (merged, baseline))
    lengths = np.array([len(reference.split()) for reference in references])
    expected = paired_bootstrap(errors(new), errors(old), lengths)
    result = outcome.result
    assert result["metrics"]["wer"] == errors(new).sum() / lengths.sum()
    assert result["baseline"]["wer"] == errors(old).sum() / lengths.sum()
    assert result["delta"]["absolute"] == expected.absolute and result["delta"]["p_value"] == expected.p_value
    assert predictions(outcome) != predictions(outcome, "baseline.jsonl")


def test_lambda_zero_is_the_baseline_exactly(words):
    outcome = once([*words, "lam=0"])
    assert (outcome.folder / "predictions.jsonl").read_bytes() == (outcome.folder / "baseline.jsonl").read_bytes()
    assert outcome.result["delta"]["absolute"] == 0 and outcome.result["merge"]["tensors"] == 0


def test_lambda_zero_after_another_lambda_is_the_baseline_too(words):
    """Not only by short cut: computed again after the model was merged at another λ."""
    bench, config = Workbench(), jobs([*words, "lam=0.5"])[0].config
    base, merger = bench.baseline(config, 0), bench.pair(config).merger
    merger.apply(plan_merge(config, LAYERS, SOURCE_LAYERS))
    assert bench.predict(config, 0, "merged").texts != base.texts
    merger.apply(plan_merge(replace(config, lam=0.0), LAYERS, SOURCE_LAYERS))
    assert bench.predict(config, 0, "restored").texts == base.texts


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


def test_baseline_is_computed_once_and_a_broken_cache_is_rebuilt(words):
    first = once(words)
    (entry,) = (Path(os.environ["MAM_CACHE"]) / "baselines").glob("*.json")
    before = entry.stat().st_mtime_ns
    once([*words, "lam=0.4"])
    assert entry.stat().st_mtime_ns == before
    good = json.loads(entry.read_text())
    lies = {"texts": ["wrong"] * 5}, {"texts": "xy"}, {"seconds": 0}, {"sha256": None}
    for content in ("{ broken", "[" * 100_000, *(json.dumps(good | lie) for lie in lies)):
        entry.write_text(content)
        again = once([*words, "force=true"])
        assert predictions(again, "baseline.jsonl") == predictions(first, "baseline.jsonl")
        assert json.loads(entry.read_text())["texts"] == predictions(first, "baseline.jsonl")


def test_whisper_runs_with_a_recording_over_thirty_seconds(tmp_path, minilm):
    root = write_folder(tmp_path / "long", [1.0, 33.0, 0.5])
    target = make_whisper(tmp_path / "w")
    outcome = once([*pair_words(target, minilm, 2 * HEADS), *data_words(root), "lam=0.3"])
    assert outcome.result["merge"]["notes"] == [
        "heads differ: the target has 4 heads of 8, the source 8 heads of 4; the shapes fit all the same",
        "the source's K bias is dropped: the target's K has none (which softmax cancels)",
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
    assert outcome.result["merge"]["tensors"] == 18 and outcome.result["merge"]["notes"] == []
    assert predictions(outcome) != predictions(outcome, "baseline.jsonl")


def test_bad_recordings_stop_or_are_counted(words, clips):
    soundfile.write(clips / "clip1.wav", np.zeros(8000), 16000)
    with pytest.raises(DataError, match=r"clip1.wav: silent"):
        once(words)
    assert not Path("outputs").exists() or not list(Path("outputs").rglob("*"))
    result = once([*words, "data.on_bad=skip"]).result
    assert result["data"]["n"] == 4 and result["data"]["skipped"][0]["id"] == "clip1"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (["model.target=/none"], CheckpointError, "there is no such folder"),
        (
            ["model.target_shape.heads=2"],
            CheckpointError,
            "has heads 4, not 2 as configured.*model.target_shape.heads=4",
        ),
        (["model.source_shape.layers=5"], CheckpointError, "model.source=.*has layers 4, not 5"),
        (["data.root=/none"], DataError, "there is no such folder"),
        (["data.normalizer=hubert_english", "data.limit=1"], DataError, "no reference word is left"),
        (["device=cuda"], MamError, "torch sees no GPU"),
        (["dtype=float16", "device=cpu"], MamError, "not usable on a CPU"),
    ],
)
def test_bad_input_leaves_nothing_behind(words, clips, change, error, message):
    if change == ["device=cuda"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (clips / "metadata.csv").write_text((clips / "metadata.csv").read_text().replace("HELLO THERE", "你好"))
    with pytest.raises(error, match=message):
        once([*words, *change])
    assert not list(Path("outputs").rglob("result.json")) and not list(Path("outputs").rglob("mam.log"))


def test_widths_that_differ_are_refused(hubert_group, clips, tmp_path):
    source = make_bert(tmp_path / "wide", width=64)
    with pytest.raises(CheckpointError, match="has width 64, not 32 as configured"):
        once([*pair_words(hubert_group, source), *data_words(clips)])


def test_source_with_fewer_layers_than_asked(hubert_group, clips, tmp_path):
    source = make_bert(tmp_path / "short", layers=2)
    with pytest.raises(CheckpointError, match="has layers 2, not 4 as configured"):
        once([*pair_words(hubert_group, source), *data_words(clips)])


def test_an_output_folder_that_cannot_be_written(words):
    Path("file").touch()
    with pytest.raises(RecordError, match=r"outputs=file.*cannot be written. Say outputs=FOLDER"):
        once([*words, "outputs=file"])
    with pytest.raises(RecordError, match=r"outputs=/proc/x.*Say outputs=FOLDER"):
        once([*words, "outputs=/proc/x"])


@pytest.mark.parametrize("cache", ["file", "/proc/x", "x" * 300])
def test_a_cache_folder_that_cannot_be_used(words, cache):
    Path("file").touch()
    with pytest.raises(MamError, match=r"Cannot use the cache folder .*Set cache_dir=FOLDER or MAM_CACHE"):
        once([*words, f"cache_dir={cache}"])
    assert os.listdir() == ["file"]


def test_each_run_of_a_sweep_goes_to_its_own_outputs(words):
    ended = execute(jobs([*words, "outputs=one,two"], multirun=True), Workbench(), "multirun")
    assert [end.outcome.folder.parts[0] for end in ended] == ["one", "two"]


def test_stopping_leaves_no_folder(words, monkeypatch):
    monkeypatch.setattr("mam.tasks.asr.rows", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        once(words)
    assert os.listdir() == []


def test_a_finished_run_without_its_predictions_is_run_again(words):
    outcome = once(words)
    (outcome.folder / "predictions.jsonl").unlink()
    assert once(words).status == "finished"


def test_a_full_disk_leaves_no_finished_run(words, monkeypatch):
    real_fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(1)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MamError, match="No space left on device"):
        once(words)
    assert not list(Path("outputs").rglob("*.json*"))


def test_a_bug_keeps_the_folder_with_its_traceback(words, monkeypatch):
    monkeypatch.setattr("mam.tasks.asr.score", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        once(words)
    (log,) = Path("outputs").rglob("mam.log")
    assert "ZeroDivisionError" in log.read_text() and not list(Path("outputs").rglob("result.json"))


def test_a_killed_run_is_not_finished_and_the_next_one_is(words, tmp_path):
    """SIGKILL while predictions are being computed; the same command then gives what an undisturbed run gives."""
    code = (
        "import sys, time; import mam.run\n"
        "from mam.compose import jobs; from mam.evaluation.workbench import Workbench\n"
        "rows = mam.run.asr.rows\n"
        "def slow(*a):\n print('computed', flush=True); time.sleep(60)\n"
        "mam.run.asr.rows = slow\n"
        "mam.run.run(jobs(sys.argv[1:])[0], Workbench())"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"computed\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (folder,) = (path.parent for path in Path("outputs").rglob("mam.log"))
    assert not (folder / "result.json").exists()
    resumed = once(words)
    assert resumed.status == "finished"
    undisturbed = once([*words, "outputs=elsewhere", f"cache_dir={tmp_path / 'fresh'}"])
    assert predictions(resumed) == predictions(undisturbed)


def test_jobs_at_the_same_time_share_one_baseline(words):
    """Two processes, one cache: both finish, with the same baseline."""
    command = "import sys; from mam.cli import main; main()"
    processes = [
        subprocess.Popen([sys.executable, "-c", command, "run", *words, f"lam={lam}"], stdout=subprocess.DEVNULL)
        for lam in (0.1, 0.2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    one, two = (path.read_bytes() for path in Path("outputs").rglob("baseline.jsonl"))
    assert one == two
    assert len(list((Path(os.environ["MAM_CACHE"]) / "baselines").glob("*.json"))) == 1


def test_a_study_runs_on_one_workbench(words):
    (study,) = jobs([*words, "experiment=lambda_grid", "study.axes.lam=[0,0.2,0.7]"])
    bench = Workbench()
    ended = execute(study_jobs(study), bench, "grid")
    assert [end.outcome.status for end in ended] == ["finished"] * 5
    assert len({end.outcome.folder.parent for end in ended}) == 1
    prefix = bench._made["prefix"][1]
    assert prefix.computed == 1  # one pack, five runs and a baseline
    again = execute(study_jobs(study), bench, "grid")
    assert [end.outcome.status for end in again] == ["skipped"] * 5


def test_one_failed_job_does_not_stop_the_others(words, monkeypatch):
    plan = jobs([*words, "lam=0.1,0.2,0.3"], multirun=True)
    bench, apply = Workbench(), None
    apply = bench.pair(plan[0].config).merger.apply

    def failing(merge_plan):
        if merge_plan.lams[0] == 0.2:
            raise MamError("no luck")
        return apply(merge_plan)

    monkeypatch.setattr(bench.pair(plan[0].config).merger, "apply", failing)
    ended = execute(plan, bench, "multirun")
    assert [end.error for end in ended] == [None, "no luck", None]
    assert len(list(Path("outputs").rglob("result.json"))) == 2


def test_rescoring_is_written_beside_and_never_over(words):
    outcome = once([*words, "lam=0.5", "data.normalizer=none"])
    before = (outcome.folder / "result.json").read_bytes()
    result, path = rescore(outcome.folder, "hubert_english", "3")
    assert path.name == "score-hubert_english-seed3.json"
    assert result["data"]["normalizer"] == "hubert_english" and "seed 3" in result["delta"]["test"]
    assert (outcome.folder / "result.json").read_bytes() == before
    with pytest.raises(RecordError, match="is there already"):
        rescore(outcome.folder, "hubert_english", "3")
    same, _ = rescore(outcome.folder, None, None)
    assert same["metrics"] == outcome.result["metrics"] and same["delta"] == outcome.result["delta"]


def test_rescoring_refuses(words, tmp_path):
    outcome = once(words)
    for options, message in ((("english", None), "data.normalizer=english: not known"), ((None, "x"), "x")):
        with pytest.raises(MamError, match=message):
            rescore(outcome.folder, *options)
    with pytest.raises(RecordError, match="is not a finished run"):
        rescore(tmp_path, None, None)
    config = (outcome.folder / ".hydra" / "config.yaml").read_text()
    for broken in ("a: [", "x: ${x", "\udcff"):
        (outcome.folder / ".hydra" / "config.yaml").write_text(broken, errors="surrogateescape")
        with pytest.raises(MamError):
            rescore(outcome.folder, None, None)
    (outcome.folder / ".hydra" / "config.yaml").write_text(config)
    lines = (outcome.folder / "baseline.jsonl").read_text().splitlines()
    for broken in ("[]", '{"id": "a"}', lines[0].replace('"prediction": "', '"prediction": 5, "x": "')):
        (outcome.folder / "baseline.jsonl").write_text("\n".join([broken, *lines[1:]]))
        with pytest.raises(MamError, match="line 1"):
            rescore(outcome.folder, None, None)
    (outcome.folder / "baseline.jsonl").write_text("\n".join(reversed(lines)))
    with pytest.raises(RecordError, match="not about the same examples"):
        rescore(outcome.folder, None, None)


def test_clusters_are_speakers_where_asked(hubert_group, bert, tmp_path):
    root = write_folder(tmp_path / "s", [0.6, 0.7, 0.5, 0.8], speaker=["a", "a", "b", "b"])
    words = [*pair_words(hubert_group, bert), *data_words(root), "data.clusters=speaker"]
    outcome = once(words)
    assert outcome.result["delta"]["clusters"] == 2 and "clusters" in outcome.result["delta"]["test"]
    plain = write_folder(tmp_path / "p", [0.6])
    with pytest.raises(DataError, match="clip0 name no speaker"):
        once([*pair_words(hubert_group, bert), *data_words(plain), "data.clusters=speaker"])


def test_a_result_that_is_broken_or_of_another_schema_is_passed_over(words, caplog):
    outcome = once(words)
    path, result = outcome.folder / "result.json", outcome.result
    for change in ({"schema": 2}, {"metrics": {}}, {"status": "running"}, {"extra": 1}):
        with pytest.raises(RecordError):
            validate(copy.deepcopy(result) | change, path)
    path.write_text("{")
    assert find_finished(Path("outputs"), result["signature"], result["hash"]) is None
    assert "cannot be read as JSON" in caplog.text
    assert once(words).status == "finished"


def test_bf16_runs(words):
    outcome = once([*words, "dtype=bfloat16", "lam=0.5"])
    assert outcome.result["env"]["dtype"] == "bfloat16" and len(predictions(outcome)) == 5


def test_threads_are_set_and_recorded(words):
    before = torch.get_num_threads()
    try:
        assert once([*words, "threads=1"]).result["env"]["threads"] == 1
    finally:
        torch.set_num_threads(before)


def test_time_is_told(words):
    start = time.perf_counter()
    timing = once(words).result["timing"]
    assert 0 < timing["evaluate"] <= time.perf_counter() - start
    assert timing["prefix"] > 0
    assert timing["audio_seconds"] == pytest.approx(4.5)
    assert timing["rtfx"] == pytest.approx(4.5 / timing["evaluate"], rel=0.05)
