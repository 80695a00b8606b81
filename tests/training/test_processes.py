"""Two processes train and predict what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.audio import write_folder
from support.models import make_hubert
from support.runs import mam, pair_words
from support.warm import program

from mam.small_files import read_jsonl

SPY = Path(__file__).with_name("spy.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def launched(processes, *words):
    """What a program shows that torchrun starts so often, or that is alone; ``-m mam`` or a file, and its words."""
    wanted = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # two processes want two GPUs
    if processes == 2:
        done = subprocess.run(
            [sys.executable, *TORCHRUN, *words, "threads=1"], env=os.environ | wanted, capture_output=True, text=True
        )
    elif words[0] == "-m":
        done = mam(*words[2:], "threads=1", **wanted)
    else:
        done = program([*words[1:], "threads=1"], Path(words[0]).read_text(), **wanted)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def words(bert, tmp_path):
    hubert = make_hubert(tmp_path / "hubert")
    config = json.loads((hubert / "config.json").read_text())
    dropouts = {name: 0.0 for name in config if "dropout" in name or name == "layerdrop"}
    (hubert / "config.json").write_text(json.dumps(config | dropouts | {"apply_spec_augment": False}))
    data = write_folder(
        tmp_path / "data", [0.6, 1.3, 0.9, 1.3, 0.8, 1.0, 1.1, 0.7], split=["train"] * 4 + ["dev"] * 2 + ["test"] * 2
    )
    return [*pair_words(hubert, bert), "data=audiofolder", f"data.root={data}", "lam=0.3"]


def test_training(words, tmp_path):
    # λ moves and the weights rest: Adam's first steps are ±lr where a gradient is nothing but rounding.
    quick = ["train.steps=3", "train.evaluate_every=3", "train.log_every=1", "train.batch_size=4", "train.clip=0"]
    quick += ["train.learning_rate=0", "train.weight_decay=0", "train.warmup=0"]
    for processes in (1, 2):
        outputs = f"outputs=out{processes}"
        shown = launched(
            processes, str(SPY), str(tmp_path), *words, "train=lmam", *quick, "train.group_by_length=false", outputs
        )
        assert shown.count("files   ") == 1  # one of them talks
    (alone,), both = ([torch.load(tmp_path / f"seen-{n}-{rank}.pt") for rank in range(n)] for n in (1, 2))
    assert len(alone) == 3
    for step, expected in enumerate(alone):
        assert torch.equal(both[0][step]["λ"], both[1][step]["λ"])
        assert set(expected) == set(both[0][step])
        # The gradient of K's bias is zero but for rounding: softmax cancels it.
        largest = max(gradient.abs().max().item() for gradient in expected.values())
        for name, gradient in expected.items():
            for rank in (0, 1):
                torch.testing.assert_close(
                    both[rank][step][name], gradient, rtol=1e-5, atol=1e-6 * largest, msg=f"{name}, step {step}"
                )
    logs = [read_jsonl(next(Path(f"out{n}").rglob("metrics.jsonl"))) for n in (1, 2)]
    losses = [[entry["loss"] for entry in log if "loss" in entry] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 3
    results = [json.loads(next(Path(f"out{n}").rglob("result.json")).read_text()) for n in (1, 2)]
    assert [result["train"]["processes"] for result in results] == [1, 2]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["merge"]["lam"] == pytest.approx(results[1]["merge"]["lam"], rel=1e-5)


@pytest.mark.slow
def test_a_killed_training_goes_on_with_as_many_processes(words, tmp_path):
    quick = ["train=lmam", "train.steps=4", "train.evaluate_every=1", "train.log_every=1", "train.batch_size=2"]
    launched(2, "-m", "mam", "run", *words, *quick, "outputs=whole")
    fatal = tmp_path / "fatal.py"
    fatal.write_text(
        "import os, sys\nimport mam.training.trainer as t\nseal, n = t.seal, []\n"
        "def fatal(path):\n    seal(path)\n    n.append(path)\n    if len(n) == 2: os.kill(os.getpid(), 9)\n"
        "t.seal = fatal\nfrom mam.cli import main\nmain()\n"
    )
    with pytest.raises(AssertionError):
        launched(2, str(fatal), "run", *words, *quick, "outputs=killed")
    assert len(list(Path("killed/unfinished").rglob("rng_state_?.pth"))) == 4
    with pytest.raises(AssertionError, match="was written by 2 processes, but now there is 1"):
        launched(1, "-m", "mam", "run", *words, *quick, "outputs=killed")
    launched(2, "-m", "mam", "run", *words, *quick, "outputs=killed")
    for name in ("predictions.jsonl", "metrics.jsonl", "lambda.csv", "model/model.safetensors"):
        whole, resumed = (next(Path(out).rglob("result.json")).parent / name for out in ("whole", "killed"))
        assert whole.read_bytes() == resumed.read_bytes()


def test_predictions_of_one_checkpoint(words, tmp_path, monkeypatch):
    batches = "evaluate.batch_seconds=1"  # a pack a clip, so that both have some
    for processes in (1, 2):
        monkeypatch.setenv("MAM_CACHE", str(tmp_path / f"cache{processes}"))
        launched(processes, "-m", "mam", "run", *words, "data.split=all", batches, f"outputs=out{processes}")
    for name in ("predictions.jsonl", "baseline.jsonl"):
        alone, together = (next(Path(f"out{n}").rglob(name)).read_bytes() for n in (1, 2))
        assert alone == together and len(alone.splitlines()) == 8
    assert len(list(Path("out2").rglob("result.json"))) == 1
