"""A checkpoint whose seal is right, but whose files are no state of this training: refused by name, and never run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.damage import CONTENT, Malice, saved, text
from support.trainings import changed, resealed

from mam.errors import TrainingError
from mam.training import resumed

pytestmark = pytest.mark.usefixtures("never_waits")


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


@pytest.mark.parametrize("change", STATES)
def test_a_state_of_the_trainer_that_cannot_be_and_is_sealed(training, whole, work, change):
    changed(work / "checkpoint-3" / "trainer_state.json", STATES[change])
    resealed(work / "checkpoint-3")
    said: list[str] = []
    assert training.outcome(work, said) == whole
    assert len(said) == 1 and "its trainer_state.json " in said[0]


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
    assert "the same command then continues from an earlier checkpoint, or starts again" in str(caught.value)


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
MORE_OF_THE_SAME = NO_STATES.keys() - FEW.keys()
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
@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param(name, change, marks=[pytest.mark.slow] if change in MORE_OF_THE_SAME else [])
        for name, made in SEALED.items()
        for change in made
    ],
)
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
