"""A run with a training or a search that is killed at any write ends with the same bytes when it is run again."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from support.kills import copies_of, killed_at
from support.runs import once
from support.warm import program

from mam.evaluation.workbench import Workbench

FILES = ("predictions.jsonl", "baseline.jsonl", "metrics.jsonl", "lambda.csv", "model/model.safetensors")
SEARCHED = {
    "optuna": ["tune=optuna", "tune.evaluations=4", "tune.high=0.9"],
    "cmaes": ["tune=cmaes", "tune.evaluations=6", "tune.high=0.9"],
    "golden": ["tune=golden", "tune.evaluations=4", "tune.high=0.9"],
    "grid": ["tune=grid", "tune.values=[0,0.3,0.8]"],
    "race": ["tune=race", "tune.values=[0,0.3,0.8]", "tune.looks=2"],
    "entropy": ["tune=entropy", "tune.epochs=2", "tune.learning_rate=0.05"],
}


@pytest.fixture
def trained(lesson):
    return [*lesson, "train=lmam", "lam=0.3", "train.patience=2", "threads=1"]  # dropout and SpecAugment are on


def run(words, bench=None):
    """The folder of a run in ``outputs``, started as it is found there."""
    outcome = once([*words, f"outputs={Path('outputs').absolute()}"], bench)
    assert not Path("outputs/unfinished").exists()
    return outcome.folder


def answer(folder):
    """What a run says, without times and names of folders."""
    result = json.loads((folder / "result.json").read_text())
    parts = {key: result[key] for key in ("metrics", "baseline", "delta", "merge", "tune", "diagnostics")}
    return parts | {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def run_and_states(words, tmp_path):
    Path("outputs").mkdir()
    with copies_of(Path("outputs").absolute(), tmp_path / "states") as states:
        whole = run(words)
    return answer(whole), states


def goes_on(states, words, whole):
    bench = Workbench()
    for state in states:
        shutil.rmtree("outputs")
        shutil.copytree(state, "outputs", symlinks=True)
        assert answer(run(words, bench)) == whole, sorted(str(path) for path in state.rglob("*"))


def sample(states, most):
    """Some of the states, spread evenly, with the last two."""
    return [*states[:: max(1, len(states) // most)], *states[-2:]]


@pytest.mark.usefixtures("never_waits")
def test_a_training(trained, tmp_path):
    whole, states = run_and_states(trained, tmp_path)
    assert len(states) > 60 and "model/model.safetensors" in whole and len(whole["metrics.jsonl"].splitlines()) > 8
    goes_on(sample(states, 4), trained, whole)


@pytest.mark.usefixtures("never_waits")
@pytest.mark.parametrize("name", ["optuna", "race"])
def test_a_search(name, split_words, tmp_path):
    words = [*split_words, *SEARCHED[name], "threads=1"]
    whole, states = run_and_states(words, tmp_path)
    goes_on(sample(states, 4), words, whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lmam", *SEARCHED])
def test_every_state(name, trained, split_words, tmp_path):
    words = trained if name == "lmam" else [*split_words, *SEARCHED[name], "threads=1"]
    whole, states = run_and_states(words, tmp_path)
    goes_on(states, words, whole)


@pytest.mark.slow
def test_every_state_of_a_training_by_folds(event_words, tmp_path):
    words = [*event_words, "train=finetune", "lam=0.3", "threads=1", "train.batch_size=4", "train.log_every=1"]
    words += ["train.steps=2", "train.evaluate_every=1"]
    whole, states = run_and_states(words, tmp_path)
    goes_on(sample(states, 60), words, whole)


def killed(words, nth):
    """Run in a process of its own, which is killed before its nth operation in ``outputs``."""
    outputs = Path("outputs").absolute()
    code = killed_at(nth, outputs) + "from mam.cli import main\nsys.argv = ['mam', 'run', *sys.argv[1:]]\nmain()"
    done = program([*words, f"outputs={outputs}"], code)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.usefixtures("never_waits")
@pytest.mark.parametrize(("kind", "nth"), [("lmam", 95), ("optuna", 45)])
def test_by_sigkill(kind, nth, trained, split_words):
    words = trained if kind == "lmam" else [*split_words, *SEARCHED[kind], "threads=1"]
    whole = answer(run(words))
    shutil.rmtree("outputs")
    killed(words, nth)
    left = [path.name for path in Path("outputs/unfinished").glob("*/**/*")]
    assert ("checkpoint-2" if kind == "lmam" else "known.json") in left and not list(
        Path("outputs").rglob("result.json")
    )
    assert answer(run(words)) == whole


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lmam", "optuna"])
def test_by_sigkill_all_over(kind, trained, split_words):
    words = trained if kind == "lmam" else [*split_words, *SEARCHED[kind], "threads=1"]
    whole = answer(run(words))
    for nth in range(3, 100 if kind == "lmam" else 40, 7):
        shutil.rmtree("outputs")
        killed(words, nth)
        assert answer(run(words)) == whole
