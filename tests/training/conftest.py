"""Fixtures: one unfinished training that all tests of resumption copy."""

from __future__ import annotations

import json

import pytest
from support.kills import copies_of
from support.trainings import Training, copied


@pytest.fixture(scope="session")
def training(hubert_group, bert, tmp_path_factory):
    return Training(hubert_group, bert, tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="session")
def states(training, tmp_path_factory):
    """The uninterrupted outcome, and the folder as a kill would leave it, before each operation on it."""
    root = tmp_path_factory.mktemp("states")
    (root / "work").mkdir()
    with copies_of(root / "work", root / "copies") as copies:
        whole = training.go_on(root / "work" / "all")
    return whole, copies


@pytest.fixture(scope="session")
def whole(states):
    return states[0]


@pytest.fixture(scope="session")
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
