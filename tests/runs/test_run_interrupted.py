"""What bad input, a full disk, a bug, a kill and a second process leave of a run."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from support.models import make_bert
from support.runs import data_words, jobs, once, pair_words, predictions
from support.warm import start

import mam.tasks.asr
from mam.errors import CheckpointError, ConfigError, DataError, MamError, RecordError
from mam.evaluation.workbench import Workbench
from mam.records.folder import open_run
from mam.records.reading import find_finished
from mam.records.result import plain
from mam.records.validity import parse_result
from mam.studies.execute import execute


def test_baseline_is_computed_once_and_a_broken_cache_is_rebuilt(words):
    first = once(words)
    (entry,) = (Path(os.environ["MAM_CACHE"]) / "baselines").glob("*.json")
    before = entry.stat().st_ino  # a file that is written again is another one
    once([*words, "lam=0.4"])
    assert entry.stat().st_ino == before
    good = json.loads(entry.read_text())
    lies = {"items": ["wrong"] * 5}, {"items": "xy"}, {"seconds": 0}, {"sha256": None}
    for content in ("{ broken", "[" * 100_000, *(json.dumps(good | lie) for lie in lies)):
        entry.write_text(content)
        again = once([*words, "force=true"])
        assert predictions(again, "baseline.jsonl") == predictions(first, "baseline.jsonl")
        assert json.loads(entry.read_text())["items"] == predictions(first, "baseline.jsonl")


def test_bad_recordings_stop_or_are_counted(words, clips):
    soundfile.write(clips / "clip1.wav", np.zeros(8000), 16000)
    with pytest.raises(DataError, match=r"clip1.wav: is silent"):
        once(words)
    assert not Path("outputs").exists() or not list(Path("outputs").rglob("*"))
    result = once([*words, "data.on_bad=skip"]).result
    assert result.data.n == 4 and result.data.skipped[0].id == "clip1"


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
        (["data.normalizer=hubert_english", "data.limit=1"], DataError, "no reference has any words left"),
        (["device=cuda"], MamError, "device=cuda: torch finds no GPU"),
        (["dtype=float16", "device=cpu"], MamError, "dtype=float16: not available on a CPU"),
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
    with pytest.raises(RecordError, match=r"outputs=file.*cannot be written. Set outputs=FOLDER"):
        once([*words, "outputs=file"])
    with pytest.raises(RecordError, match=r"outputs=/proc/x.*Set outputs=FOLDER"):
        once([*words, "outputs=/proc/x"])


def test_a_cache_folder_that_is_a_file(words):
    Path("file").touch()
    with pytest.raises(ConfigError, match="cache_dir=file: is a file. Give a folder"):
        once([*words, "cache_dir=file"])
    assert os.listdir() == ["file"]


@pytest.mark.parametrize("cache", ["/proc/x", "x" * 300])
def test_a_cache_folder_that_cannot_be_used(words, cache):
    bench, said = Workbench(), []
    bench.terminal.say = said.append
    outcome = once([*words, f"cache_dir={cache}"], bench)
    unusable = [line for line in said if "Cannot use the cache folder" in line]
    assert len(unusable) == 1 and "Set cache_dir=FOLDER or MAM_CACHE" in unusable[0]
    assert predictions(outcome) == predictions(once([*words, "outputs=other"]))


def test_stopping_leaves_no_folder(words, monkeypatch):
    monkeypatch.setattr("mam.tasks.asr.judge", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
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


@pytest.mark.parametrize("full_from", [1, 2])
def test_a_full_disk_while_logging_is_one_message(words, monkeypatch, capfd, caplog, full_from):
    caplog.set_level(logging.INFO)
    flush, calls = logging.FileHandler.flush, []

    def full(handler):
        calls.append(handler)
        if len(calls) >= full_from:
            raise OSError(28, "No space left on device")
        flush(handler)

    score = mam.tasks.asr.score

    def logged(*arguments):
        logging.getLogger("mam").info("scoring")  # at least two lines
        return score(*arguments)

    monkeypatch.setattr("mam.tasks.asr.score", logged)
    monkeypatch.setattr(logging.FileHandler, "flush", full)
    with pytest.raises(
        RecordError, match=r"Cannot write .*mam\.log: No space left on device\. Free disk space or set outputs="
    ):
        once(words)
    assert "Logging error" not in capfd.readouterr().err
    assert not Path("outputs").exists()


def test_a_bug_keeps_the_folder_with_its_traceback(words, monkeypatch):
    monkeypatch.setattr("mam.tasks.asr.score", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        once(words)
    (log,) = Path("outputs").rglob("mam.log")
    assert "ZeroDivisionError" in log.read_text() and not list(Path("outputs").rglob("result.json"))


def test_a_killed_run_is_not_finished_and_the_next_one_is(words, tmp_path):
    """SIGKILL while predictions are being computed; the same command then gives what an undisturbed run gives."""
    code = (
        "import sys, time; import mam.runs.run\n"
        "from mam.config.compose import jobs; from mam.evaluation.workbench import Workbench\n"
        "def slow(*a):\n print('computed', flush=True); time.sleep(60)\n"
        "mam.tasks.asr.judge = slow\n"
        "mam.runs.run.run(jobs(sys.argv[1:]).jobs[0], Workbench())"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"computed\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (folder,) = (path.parent for path in Path("outputs").rglob("mam.log"))
    assert not (folder / "result.json").exists() and (folder / ".running").exists()
    resumed = once(words)
    assert resumed.status == "finished" and not folder.exists()
    assert f"{folder.absolute()}: removed, since its run was killed" in (resumed.folder / "mam.log").read_text()
    assert not list(Path("outputs").rglob(".running*"))
    undisturbed = once([*words, "outputs=elsewhere", f"cache_dir={tmp_path / 'fresh'}"])
    assert predictions(resumed) == predictions(undisturbed)


def test_only_folders_of_killed_runs_are_removed(words):
    """Not one whose process lives, one that is kept with its traceback, a finished one, or one of another run."""
    (job,) = jobs(words)
    parent = Path("outputs/2030-01-01")
    names = ("alive", "kept", "done", "dead")
    kinds = {name: parent / f"00-00-0{number}-{job.signature}" for number, name in enumerate(names)}
    kinds["another"] = parent / "00-00-09-00000000"
    for name, folder in kinds.items():
        folder.mkdir(parents=True)
        if name != "kept":
            (folder / ".running").touch()
    (kinds["done"] / "result.json").touch()
    with FileLock(kinds["alive"] / ".running"), open_run(job, parent) as folder:
        assert (folder.path / ".running").exists()
    assert {name for name, folder in kinds.items() if folder.exists()} == {"alive", "kept", "done", "another"}
    assert not (kinds["done"] / ".running").exists() and not (folder.path / ".running").exists()


def test_jobs_at_the_same_time_share_one_baseline(words):
    """Two processes, one cache: both finish, with the same baseline."""
    started = [start(["run", *words, f"lam={lam}"]) for lam in (0.1, 0.2)]
    assert [process.wait(timeout=120).returncode for process in started] == [0, 0]
    one, two = (path.read_bytes() for path in Path("outputs").rglob("baseline.jsonl"))
    assert one == two
    assert len(list((Path(os.environ["MAM_CACHE"]) / "baselines").glob("*.json"))) == 1


def test_one_failed_job_does_not_stop_the_others(words, monkeypatch):
    plan = jobs([*words, "lam=0.1,0.2,0.3", "control=none"], multirun=True)
    bench, apply = Workbench(), None
    apply = bench.pair(plan[0].config).merger.apply

    def failing(merge_plan):
        if merge_plan.lams[0] == 0.2:
            raise MamError("no luck")
        return apply(merge_plan)

    monkeypatch.setattr(bench.pair(plan[0].config).merger, "apply", failing)
    ended = execute(plan, bench, Path("multirun"))
    assert [end.error for end in ended] == [None, None, "no luck", None]  # λ=0 was added
    assert len(list(Path("outputs").rglob("result.json"))) == 3


def test_a_result_that_is_broken_or_of_another_schema_is_passed_over(words, caplog):
    outcome = once(words)
    path, result = outcome.folder / "result.json", outcome.result
    for change in ({"schema": 2}, {"metrics": {}}, {"status": "running"}, {"extra": 1}):
        with pytest.raises(RecordError):
            parse_result(json.dumps(plain(result) | change), path)
    path.write_text("{")
    assert find_finished(Path("outputs"), result.signature, result.hash) is None
    assert "cannot be read as JSON" in caplog.text
    assert once(words).status == "finished"
