"""Damaged questions, folders and locks of unfinished trainings, and any JSON in the place of what mam wrote."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import CONTENT, KIND, text
from support.trainings import copied, resealed

from mam.errors import MamError, TrainingError
from mam.files import sha256_json
from mam.training import resumption, sealing
from mam.training.resumption import others_unfinished, unfinished
from mam.tuning.known import Known

pytestmark = pytest.mark.usefixtures("never_waits")

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
        assert len(others) == 1 and f"{path}: " in others[0] and f"Remove {folder} if it is not needed" in others[0]
    with pytest.raises(TrainingError, match=r"question\.json|data: "), unfinished(tmp_path, QUESTION, str(folder)):
        pass
    said: list[str] = []
    with unfinished(tmp_path, QUESTION, "auto", said.append) as again:
        assert again == folder and (folder / "all").is_dir()
    assert json.loads(path.read_text()) == QUESTION and not path.is_symlink()
    assert said == [] if damage == "missing" else said[0].startswith(f"{path}: ") and "written again" in said[0]
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
        damage = sealing._damage(path.parent)
        assert damage is None or name in damage or damage.endswith(" changed or missing")  # what the seal names
    for file, before in kept.items():
        (path.parent / file).write_bytes(before)
