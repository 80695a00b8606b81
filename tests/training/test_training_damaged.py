"""An unfinished training that is damaged goes on from the last good checkpoint and says so, or is refused by name.

What comes out is what an uninterrupted training gives, to the byte, or a MamError that names the file. Kills are here
too, as copies of what they leave; those of a run as a whole are in `tests/runs/test_run_killed.py`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from support.damage import CONTENT, KIND, MOVED, Malice, saved, text
from support.trainings import STEPS, changed, copied, resealed

from mam.errors import MamError, TrainingError
from mam.files import write_json
from mam.training.sealing import last_whole

pytestmark = pytest.mark.usefixtures("never_waits")

FILES = ["seal.json", "trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"]


def test_it_goes_on_from_each_checkpoint_alike(training, whole, work):
    for step in (3, 2, 1):
        said: list[str] = []
        folder = copied(work, work.parent / f"from-{step}")
        assert last_whole(folder, said.append) == folder / f"checkpoint-{step}"
        assert training.go_on(folder) == whole and not said
        shutil.rmtree(work / f"checkpoint-{step}")


@pytest.mark.parametrize("damage", CONTENT | KIND | MOVED)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_costs_its_checkpoint(training, whole, work, name, damage):
    (CONTENT | KIND | MOVED)[damage](work / "checkpoint-3" / name)
    said: list[str] = []
    outcome = training.outcome(work, said)
    if (name, damage) == ("seal.json", "a link to the same"):
        assert said == [] and outcome == whole
        return
    (sentence,) = said
    unsealed = (name, damage) == ("seal.json", "missing")
    assert sentence.startswith(f"{work / 'checkpoint-3'}: ") and sentence.endswith("it is not used")
    assert ("was not written completely" if unsealed else name) in sentence
    assert outcome == whole


@pytest.mark.parametrize("damage", ["cut in the middle", "missing", "a pipe"])
@pytest.mark.parametrize("name", ["model.safetensors", "seal.json", "optimizer.pt"])
def test_without_its_best_checkpoint_it_begins_anew(training, whole, work, name, damage):
    (CONTENT | KIND)[damage](work / "checkpoint-1" / name)
    said: list[str] = []
    assert training.outcome(work, said) == whole
    assert [sentence.split(": ")[0] for sentence in said] == [str(work / f"checkpoint-{step}") for step in (3, 2, 1)]
    assert "its best checkpoint, checkpoint-1, is damaged" in said[0]


SEALS = {
    "a list of hashes": lambda sealed: list(sealed.values()),
    "nothing": lambda sealed: {},
    "a hash that is a number": lambda sealed: sealed | {"optimizer.pt": 7},
    "a hash that is a list": lambda sealed: sealed | {"optimizer.pt": ["a"]},
    "without the optimizer": lambda sealed: {key: value for key, value in sealed.items() if key != "optimizer.pt"},
    "without random numbers": lambda sealed: {key: value for key, value in sealed.items() if key != "rng_state.pth"},
    "a file elsewhere": lambda sealed: sealed | {"../checkpoint-2/seal.json": "a"},
    "a file that cannot be": lambda sealed: sealed | {"a\0b": "a"},
    "itself": lambda sealed: sealed | {"seal.json": "a"},
}


@pytest.mark.parametrize("change", SEALS)
def test_a_seal_that_says_something_else(training, whole, work, change):
    path = work / "checkpoint-3" / "seal.json"
    write_json(path, SEALS[change](json.loads(path.read_text())))
    said: list[str] = []
    assert training.outcome(work, said) == whole
    assert len(said) == 1 and "checkpoint-3" in said[0] and "it is not used" in said[0]


MORE = {
    "pytorch_model.bin": saved(Malice()),
    "adapter_model.safetensors": text("x"),
    "config.json": text("{"),
    "scaler.pt": saved(Malice()),
    "model.safetensors.index.json": text("[]"),
    "pytorch_model_fsdp.bin": text(""),
    "pytorch_model_fsdp_0": Path.mkdir,
    "optimizer_0": Path.mkdir,
    "rng_state_0.pth": saved(Malice()),
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("name", MORE)
def test_what_the_seal_does_not_name_is_not_loaded(training, whole, work, name):
    for checkpoint in ("checkpoint-1", "checkpoint-3"):
        MORE[name](work / checkpoint / name)
    said: list[str] = []
    assert training.outcome(work, said) == whole and not Path("run").exists()
    removed = {
        f"{work / one / name}: does not belong to the checkpoint and is removed"
        for one in ("checkpoint-1", "checkpoint-3")
    }
    assert set(said) == removed


def test_leftovers_of_a_killed_write_stay(training, whole, work):
    (work / "checkpoint-3" / ".seal.json.x3").write_text("{")
    said: list[str] = []
    assert training.outcome(work, said) == whole and not said


NAMES = {
    "checkpoint-99999999": Path.mkdir,
    "checkpoint-4": lambda path: shutil.copytree(path.with_name("checkpoint-3"), path),
    "checkpoint-5": Path.touch,
    "checkpoint-6": os.mkfifo,
    "checkpoint-7": lambda path: path.symlink_to("checkpoint-3"),
    "checkpoint-8": lambda path: path.symlink_to("nowhere"),
    "checkpoint-9": lambda path: path.symlink_to("checkpoint-9"),
}
OTHER_NAMES = ["checkpoint-abc", "checkpoint-", "checkpoint-007", "checkpoint-0", "checkpoint-1.5", "checkpoint--3"]
OTHER_NAMES += ["checkpoint-²", "checkpoint-٣", f"checkpoint-{'9' * 200}", "checkpoint-3 (copy)"]


@pytest.mark.parametrize("name", NAMES)
def test_what_only_is_named_like_a_checkpoint_is_passed_over(training, whole, work, name):
    NAMES[name](work / name)
    said: list[str] = []
    assert training.outcome(work, said) == whole
    assert len(said) == 1 and said[0].startswith(f"{work / name}: ") and not os.path.lexists(work / name)
    assert (work / "checkpoint-3" / "seal.json").is_file()


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_are_left_alone(training, whole, work, name):
    (work / name).mkdir()
    said: list[str] = []
    assert last_whole(work, said.append) == work / "checkpoint-3"
    assert said == [f"{work / name}: is not a checkpoint of this training and is ignored"]
    if name in ("checkpoint-abc", f"checkpoint-{'9' * 200}"):
        assert training.go_on(work) == whole and (work / name).is_dir()


@pytest.mark.parametrize("kind", [kind for kind in KIND if kind not in ("missing", "a folder", "a folder with a file")])
def test_something_else_in_the_place_of_a_fold_is_named(training, work, kind):
    shutil.rmtree(work)
    work.touch()
    KIND[kind](work)
    with pytest.raises(TrainingError, match=f"{work}: is not a folder. Remove it"):
        training.go_on(work)


@pytest.mark.parametrize("damage", [*CONTENT, *KIND])
def test_the_logs_beside_it_are_written_anew(training, whole, work, damage):
    path = work.with_name("all.metrics.jsonl")
    (CONTENT | KIND)[damage](path)
    if damage.startswith("a folder"):
        with pytest.raises(MamError, match=r"Cannot write .*/all\.metrics\.jsonl"):
            training.go_on(work)
    elif damage in ("cut in the middle", "a pipe", "a link to nothing"):
        assert training.go_on(work) == whole and path.is_file() and not path.is_symlink()
    else:  # nothing reads it
        assert training.outcome(work, []) == whole


def test_checkpoints_of_more_processes_are_refused(work):
    (work / "checkpoint-3" / "rng_state.pth").rename(work / "checkpoint-3" / "rng_state_0.pth")
    shutil.copy(work / "checkpoint-3" / "rng_state_0.pth", work / "checkpoint-3" / "rng_state_1.pth")
    resealed(work / "checkpoint-3")
    with pytest.raises(TrainingError, match="was written by 2 processes, but now there is 1. Start as many as before"):
        last_whole(work, print)


def test_a_training_that_was_moved_ends_with_its_best_model(training, whole, states, work):
    """From its last checkpoint, after which no step is left to find the best one again."""
    last = next(copy for copy in reversed(states[1]) if (copy / f"all/checkpoint-{STEPS}/seal.json").is_file())
    elsewhere = copied(last, work.parent.parent / "elsewhere") / "all"
    shutil.rmtree(elsewhere / "checkpoint-3", ignore_errors=True)
    path = elsewhere / f"checkpoint-{STEPS}" / "trainer_state.json"
    changed(path, {"best_model_checkpoint": "/nowhere/checkpoint-1"})
    resealed(path.parent)
    assert training.go_on(elsewhere) == whole and whole["best_step"] == 1


def test_killed_at_any_write_it_ends_alike(training, states, tmp_path):
    whole, copies = states
    assert len(copies) > 60
    resumed_from = set()
    for i, copy in enumerate(copies):
        folder = copied(copy, tmp_path / f"{i}") / "all"
        found = last_whole(folder, print)
        resumed_from.add(None if found is None else found.name)
        assert training.outcome(folder, []) == whole, sorted(str(path) for path in copy.rglob("*"))
    assert resumed_from == {None, *(f"checkpoint-{step}" for step in range(1, STEPS + 1))}


@pytest.mark.slow
def test_every_state_without_exception(training, states, tmp_path):
    whole, copies = states
    for i, copy in enumerate(copies):
        assert training.go_on(copied(copy, tmp_path / f"{i}") / "all") == whole
