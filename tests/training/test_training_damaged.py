"""An unfinished training that is damaged goes on from the last good checkpoint and says so, or is refused by name.

What comes out is what an uninterrupted training gives, to the byte, or a MamError that names the file.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from support.damage import CONTENT, KIND, MOVED, text
from support.kills import copies_of
from support.trainings import STEPS, Training, copied

from mam.errors import MamError, TrainingError
from mam.files import sha256_file, sha256_json, write_json
from mam.training import resumed, resumption, sealing
from mam.training.resumption import others_unfinished, unfinished
from mam.training.sealing import last_whole
from mam.tuning.known import Known

FILES = ["seal.json", "trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"]


@pytest.fixture(autouse=True)
def never_waits():
    """A read that would wait for ever fails."""
    signal.alarm(120)
    yield
    signal.alarm(0)


@pytest.fixture(scope="module")
def training(hubert_group, bert, tmp_path_factory):
    return Training(hubert_group, bert, tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def states(training, tmp_path_factory):
    """The uninterrupted outcome, and the folder as a kill would leave it, before each operation on it."""
    root = tmp_path_factory.mktemp("states")
    (root / "work").mkdir()
    with copies_of(root / "work", root / "copies") as copies:
        whole = training.go_on(root / "work" / "all")
    return whole, copies


@pytest.fixture(scope="module")
def whole(states):
    return states[0]


@pytest.fixture(scope="module")
def begun(states):
    """Killed when the third of four checkpoints was sealed; the best one is the first."""
    names = [sorted(path.name for path in copy.glob("all/*")) for copy in states[1]]
    last = max(i for i, found in enumerate(names) if found == ["checkpoint-1", "checkpoint-2", "checkpoint-3"])
    state = json.loads((states[1][last] / "all/checkpoint-3/trainer_state.json").read_text())
    assert state["best_global_step"] == 1 and (states[1][last] / "all/checkpoint-3/seal.json").is_file()
    return states[1][last]


@pytest.fixture
def work(begun, tmp_path):
    return copied(begun, tmp_path / "work") / "all"


def resealed(checkpoint: Path) -> None:
    hashes = {path.name: sha256_file(path) for path in checkpoint.iterdir() if path.name != "seal.json"}
    write_json(checkpoint / "seal.json", hashes)


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
    assert sentence.startswith(f"{work / 'checkpoint-3'}: ") and sentence.endswith("; it is passed over")
    assert ("was not written to the end" if unsealed else name) in sentence
    assert outcome == whole


@pytest.mark.parametrize("damage", ["cut in the middle", "missing", "a pipe"])
@pytest.mark.parametrize("name", ["model.safetensors", "seal.json", "optimizer.pt"])
def test_without_its_best_checkpoint_it_begins_anew(training, whole, work, name, damage):
    (CONTENT | KIND)[damage](work / "checkpoint-1" / name)
    said: list[str] = []
    assert training.outcome(work, said) == whole
    assert [sentence.split(": ")[0] for sentence in said] == [str(work / f"checkpoint-{step}") for step in (3, 2, 1)]
    assert "its best checkpoint, checkpoint-1, is not whole" in said[0]


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
    assert len(said) == 1 and "checkpoint-3" in said[0] and "it is passed over" in said[0]


def log_of(**entry):
    return {"log_history": [entry]}


STATES = {
    "another step": {"global_step": 2},
    "a step that is text": {"global_step": "3"},
    "a best step to come": {"best_global_step": 4},
    "a best step below 0": {"best_global_step": -1},
    "a best step that is text": {"best_global_step": "1"},
    "a best step that is true": {"best_global_step": True},
    "a best metric that is text": {"best_metric": "0.5"},
    "steps that are a list": {"max_steps": []},
    "no operations": {"total_flos": None},
    "no logs": {"log_history": None},
    "logs that are text": {"log_history": "abc"},
    "a log that is text": {"log_history": ["abc"]},
    "a log without a step": log_of(loss=0.5),
    "a log whose loss is text": log_of(step=1, loss="0.5"),
    "a log whose loss is a list": log_of(step=1, loss=[0.5]),
    "no callbacks": {"stateful_callbacks": None},
    "callbacks in a list": {"stateful_callbacks": []},
    "a control that is text": {"stateful_callbacks": {"TrainerControl": "abc"}},
    "a control without options": {"stateful_callbacks": {"TrainerControl": {"args": []}}},
}
REFUSED_STATES = {
    "an unknown key": {"more": 1},
    "another interval of logs": {"logging_steps": 2},
    "an interval of 0": {"save_steps": 0},
    "an interval that is text": {"eval_steps": "1"},
    "no callback": {"stateful_callbacks": {}},
    "a patience that is text": {"EarlyStoppingCallback": {"attributes": {"early_stopping_patience_counter": "1"}}},
    "a control that stops": {"TrainerControl": {"args": {"should_training_stop": "yes"}}},
    "a control of other options": {"TrainerControl": {"args": {"more": True}}},
}


def changed(path, entries):
    state = json.loads(path.read_text())
    for key, value in entries.items():
        if key in state["stateful_callbacks"]:
            (kind, inner), *_ = value.items()
            state["stateful_callbacks"][key][kind] |= inner
        else:
            state[key] = value
    path.write_text(json.dumps(state))


@pytest.mark.parametrize("change", STATES)
def test_a_state_of_the_trainer_that_cannot_be_and_is_sealed(training, whole, work, change):
    changed(work / "checkpoint-3" / "trainer_state.json", STATES[change])
    resealed(work / "checkpoint-3")
    said: list[str] = []
    assert training.outcome(work, said) == whole
    assert len(said) == 1 and "its trainer_state.json is " in said[0]


@pytest.mark.parametrize("name", [name for name in CONTENT if name not in ("cut by three bytes", "one bit flipped")])
def test_a_state_of_the_trainer_that_is_none_and_is_sealed(training, whole, work, name):
    CONTENT[name](work / "checkpoint-3" / "trainer_state.json")
    resealed(work / "checkpoint-3")
    said: list[str] = []
    assert training.outcome(work, said) == whole and "trainer_state.json" in said[0]


@pytest.mark.parametrize("change", REFUSED_STATES)
def test_a_state_of_another_trainer_is_refused(training, work, change):
    changed(work / "checkpoint-3" / "trainer_state.json", REFUSED_STATES[change])
    resealed(work / "checkpoint-3")
    refused(training, work, "trainer_state.json")


def refused(training, work, name):
    with pytest.raises(TrainingError) as caught:
        training.go_on(work)
    assert f"{work / 'checkpoint-3'}: " in str(caught.value) and name in str(caught.value)
    assert "the same command then goes on from an earlier checkpoint" in str(caught.value)


class Malice:
    """Code that is run where a pickle is taken for what it says."""

    def __reduce__(self):
        return (Path.touch, (Path("run"),))


def saved(value):
    return lambda path: torch.save(value, path)


def edited(edit):
    def change(path):
        state = torch.load(path, weights_only=False)  # numpy's random state
        edit(state)
        torch.save(state, path)

    return change


def weights(edit):
    def change(path):
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, {"format": "pt"})

    return change


def _pickled(path):
    path.write_bytes(pickle.dumps(Malice()))


NO_STATES = {
    "random": lambda path: path.write_bytes(bytes(range(256))),
    "emptied": text(""),
    "a list": saved([1, 2]),
    "a number": saved(7),
    "text": saved("state"),
    "a tensor": saved(torch.zeros(3)),
    "an empty state": saved({}),
    "a pickle with code": saved(Malice()),
    "an old pickle with code": _pickled,
}
FEW = {name: NO_STATES[name] for name in ("random", "a list", "an empty state", "a pickle with code")}
SEALED = {
    "optimizer.pt": NO_STATES
    | {
        "other shapes": edited(lambda state: state["state"][0].update(exp_avg=torch.zeros(1, 2, 3))),
        "no numbers": edited(lambda state: state["state"][0]["exp_avg"].fill_(float("nan"))),
        "moments that are a list": edited(lambda state: state["state"][0].update(exp_avg_sq=[0.0])),
        "a moment less": edited(lambda state: state["state"][0].pop("exp_avg")),
        "a rate that is text": edited(lambda state: state["param_groups"][0].update(lr="fast")),
        "a rate that is NaN": edited(lambda state: state["param_groups"][0].update(lr=float("nan"))),
        "a group less": edited(lambda state: state["param_groups"].pop()),
        "groups that are text": edited(lambda state: state.update(param_groups="all")),
    },
    "scheduler.pt": FEW
    | {
        "an epoch that is text": edited(lambda state: state.update(last_epoch="3")),
        "rates that are text": edited(lambda state: state.update(base_lrs=["a", "b"])),
        "a rate less": edited(lambda state: state["base_lrs"].pop()),
    },
    "rng_state.pth": FEW
    | {
        "no python": edited(lambda state: state.pop("python")),
        "a short state": edited(lambda state: state.update(cpu=torch.zeros(3, dtype=torch.uint8))),
        "a state of floats": edited(lambda state: state.update(cpu=torch.zeros(5056))),
        "numpy as text": edited(lambda state: state.update(numpy="MT19937")),
    },
    "model.safetensors": {
        "random": NO_STATES["random"],
        "emptied": text(""),
        "a pickle with code": NO_STATES["a pickle with code"],
        "a tensor less": weights(lambda tensors: tensors.pop("lambdas.raw")),
        "a tensor more": weights(lambda tensors: tensors.update(more=torch.zeros(1))),
        "another shape": weights(lambda tensors: tensors.update({"lambdas.raw": torch.zeros(99)})),
    },
}


@pytest.mark.filterwarnings("ignore")  # torch warns of pickles
@pytest.mark.parametrize(("name", "change"), [(name, change) for name, made in SEALED.items() for change in made])
def test_what_is_sealed_but_no_state_of_this_training_is_refused(training, work, name, change):
    SEALED[name][change](work / "checkpoint-3" / name)
    resealed(work / "checkpoint-3")
    refused(training, work, name)
    assert not Path("run").exists()


def test_the_best_model_that_cannot_be_loaded_is_named(training, work):
    SEALED["model.safetensors"]["another shape"](work / "checkpoint-1" / "model.safetensors")
    resealed(work / "checkpoint-1")
    with pytest.raises(TrainingError, match=r"checkpoint-1: model.safetensors cannot be loaded \(.*size mismatch"):
        training.go_on(work)


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
        f"{work / one / name}: is not part of the checkpoint; it is removed" for one in ("checkpoint-1", "checkpoint-3")
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
    assert said == [f"{work / name}: is no checkpoint of this training; it is left alone"]
    if name in ("checkpoint-abc", f"checkpoint-{'9' * 200}"):
        assert training.go_on(work) == whole and (work / name).is_dir()


@pytest.mark.parametrize("kind", [kind for kind in KIND if kind not in ("missing", "a folder", "a folder with a file")])
def test_something_else_in_the_place_of_a_fold_is_named(training, work, kind):
    shutil.rmtree(work)
    work.touch()
    KIND[kind](work)
    with pytest.raises(TrainingError, match=f"{work}: is not a folder of checkpoints. Remove what has its name"):
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
    with pytest.raises(TrainingError, match="was written by 2 processes, and 1 would go on. Start as many as then"):
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
    signal.alarm(0)
    whole, copies = states
    for i, copy in enumerate(copies):
        assert training.go_on(copied(copy, tmp_path / f"{i}") / "all") == whole


QUESTION = {"config": {"lam": 0.1, "train": {"steps": 3}}, "target": "t", "source": "s", "data": "abc"}
QUESTIONS = {**CONTENT, **KIND, "another": text(json.dumps(QUESTION | {"data": "abd"}))}


@pytest.mark.parametrize("damage", QUESTIONS)
def test_a_damaged_question_is_written_anew_or_refused(damage, tmp_path):
    with unfinished(tmp_path, QUESTION, "auto") as folder:
        (folder / "all").mkdir()
    path = folder / "question.json"
    QUESTIONS[damage](path)
    others = others_unfinished(tmp_path, QUESTION | {"config": {}})
    if damage == "missing":
        assert others == []
    elif damage != "another":
        assert len(others) == 1 and f"{path}: " in others[0] and f"Remove {folder} if it is not wanted" in others[0]
    with pytest.raises(TrainingError, match=r"question\.json|data: "), unfinished(tmp_path, QUESTION, str(folder)):
        pass
    said: list[str] = []
    with unfinished(tmp_path, QUESTION, "auto", said.append) as again:
        assert again == folder and (folder / "all").is_dir()
    assert json.loads(path.read_text()) == QUESTION and not path.is_symlink()
    assert said == [] if damage == "missing" else said[0].startswith(f"{path}: ") and "written anew" in said[0]
    with unfinished(tmp_path, QUESTION, "auto", pytest.fail):
        pass
    with unfinished(tmp_path, QUESTION, str(folder), pytest.fail):
        pass


@pytest.mark.parametrize("kind", [kind for kind in KIND if kind not in ("missing", "a folder", "a folder with a file")])
def test_something_else_in_the_place_of_the_folder_is_named(kind, tmp_path):
    with unfinished(tmp_path, QUESTION, "auto") as folder:
        pass
    shutil.rmtree(folder)
    folder.touch()
    KIND[kind](folder)
    if kind == "a link to a folder":
        folder.unlink()
        (tmp_path / "scratch").mkdir()
        folder.symlink_to(tmp_path / "scratch")
        with unfinished(tmp_path, QUESTION, "auto"):
            assert (tmp_path / "scratch" / "question.json").is_file()
        with unfinished(tmp_path, QUESTION, "no"):
            assert not folder.is_symlink() and (tmp_path / "scratch" / "question.json").is_file()
        return
    with pytest.raises(MamError, match=str(folder)), unfinished(tmp_path, QUESTION, "auto"):
        pass


@pytest.mark.parametrize("kind", ["a folder", "a link to nothing", "a link to itself", "a pipe"])
def test_something_else_in_the_place_of_the_lock(kind, tmp_path):
    with unfinished(tmp_path, QUESTION, "auto") as folder:
        pass
    lock = folder.with_name(f".{folder.name}.lock")
    lock.touch()
    KIND[kind](lock)
    try:
        with unfinished(tmp_path, QUESTION, "auto"):
            pass
    except TrainingError as error:
        assert f"{lock}: cannot be locked" in str(error) and "Remove it" in str(error)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=9), below, max_size=3),
    max_leaves=8,
)
KEYS = ["global_step", "best_global_step", "best_metric", "log_history", "stateful_callbacks", "max_steps"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=VALUES | st.dictionaries(st.sampled_from([*KEYS, "optimizer.pt"]), VALUES, max_size=4))
@pytest.mark.parametrize("name", ["seal.json", "trainer_state.json", "known.json", "question.json"])
def test_whatever_json_is_there_is_taken_or_named(name, content, begun, tmp_path):
    path = tmp_path / "checkpoint-3" / name
    if not path.parent.is_dir():
        copied(begun / "all" / "checkpoint-3", path.parent)
    kept = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    is_edit = isinstance(content, dict) and name in kept
    path.write_text(json.dumps(json.loads(kept[name]) | content if is_edit else content))
    said: list[str] = []
    if name == "trainer_state.json":
        resealed(path.parent)
    if name == "known.json":
        numbers = {"0.1": content}
        path.write_text(json.dumps({"sha256": sha256_json(["checkpoint-3", numbers]), "numbers": numbers}))
        found = Known(path.parent, said.append).numbers("0.1", 1, lambda: [0.5])
        assert found == [0.5] or (found == content and not said)
        path.unlink()
    elif name == "question.json":
        resumption._note(path, {"a": 1}, said.append)
        assert json.loads(path.read_text()) == {"a": 1} and len(said) == 1
        path.unlink()
    else:
        assert name in (sealing._damage(path.parent) or name)
    for file, before in kept.items():
        (path.parent / file).write_bytes(before)


def test_states_are_alike_by_their_structure():
    state = {"lr": 0.1, "betas": (0.9, 0.999), "n": 3, "on": True, "rest": [None, "a"]}
    assert resumed.is_alike(state, state | {"lr": 1, "n": 4, "on": False})
    for other in (
        {"lr": "1"},
        {"lr": True},
        {"lr": float("inf")},
        {"n": 3.0},
        {"n": True},
        {"on": 1},
        {"betas": [0.9, 0.999]},
        {"betas": (0.9,)},
        {"rest": [None, 1]},
        {"more": 1},
    ):
        assert not resumed.is_alike(state, state | other), other
    assert not resumed.is_alike(state, [state])


def test_a_scaler_is_checked_like_the_rest(work):
    """As under float16, which needs a GPU."""

    class Fake:
        class accelerator:
            scaler = torch.amp.GradScaler("cpu")

    load = resumed.ResumedTrainer._load_scaler
    with pytest.raises(TrainingError, match=r"checkpoint-3: scaler\.pt cannot be loaded \(.*No such file"):
        load(Fake, str(work / "checkpoint-3"))
    good = Fake.accelerator.scaler.state_dict()
    for state in (good | {"scale": "large"}, [], {}, good | {"growth_interval": 2.5}):
        torch.save(state, work / "checkpoint-3" / "scaler.pt")
        with pytest.raises(TrainingError, match=r"scaler\.pt cannot be loaded"):
            load(Fake, str(work / "checkpoint-3"))
    torch.save(good | {"scale": 8.0}, work / "checkpoint-3" / "scaler.pt")
    load(Fake, str(work / "checkpoint-3"))
    assert Fake.accelerator.scaler.get_scale() == 8.0
