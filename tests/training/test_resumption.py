"""Which checkpoints of an unfinished training are used, and which question they answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mam.errors import TrainingError
from mam.training.resumption import forget, last_whole, seal, unfinished


def checkpoint(folder: Path, step: int, best: int | None = None, is_sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes(range(step % 200)))
    (path / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
    if is_sealed:
        seal(path)
    return path


def test_the_newest_whole_checkpoint_is_used_and_broken_ones_go_by_name(tmp_path):
    assert last_whole(tmp_path / "none", print) is None
    first = checkpoint(tmp_path, 9)
    second = checkpoint(tmp_path, 10)
    unsealed = checkpoint(tmp_path, 100, is_sealed=False)
    said: list[str] = []
    assert last_whole(tmp_path, said.append) == second
    assert said == [f"{unsealed}: was not written to the end; it is passed over"] and not unsealed.exists()
    (second / "model.safetensors").write_bytes(b"cut")
    assert last_whole(tmp_path, said.append) == first
    assert said[1] == f"{second}: model.safetensors changed or missing; it is passed over"
    (first / "seal.json").write_text("{")
    assert last_whole(tmp_path, said.append) is None and "its seal.json is broken" in said[2]


def test_a_checkpoint_whose_best_is_broken_does_not_serve(tmp_path):
    best = checkpoint(tmp_path, 5, best=5)
    checkpoint(tmp_path, 10, best=5)
    (best / "model.safetensors").write_bytes(b"cut")
    said: list[str] = []
    assert last_whole(tmp_path, said.append) is None
    assert "its best checkpoint, checkpoint-5, is not whole (model.safetensors changed or missing)" in said[0]


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    for step in (10, 20, 30, 40, 50):
        checkpoint(tmp_path, step, best=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-20", "checkpoint-40", "checkpoint-50"]


def test_a_question_has_one_folder_and_one_trainer(tmp_path):
    question = {"config": {"lam": 0.1, "train": {"steps": 3}}, "data": "abc"}
    with unfinished(tmp_path, question, "auto") as folder:
        (folder / "trace").touch()
        with (
            pytest.raises(TrainingError, match="another process is training this now"),
            unfinished(tmp_path, question, "auto"),
        ):
            pass
    with unfinished(tmp_path, question, "auto") as again:
        assert again == folder and (folder / "trace").exists()
    with unfinished(tmp_path, question | {"data": "abd"}, "auto") as other:
        assert other != folder
    forget(other)
    with unfinished(tmp_path, question, "no") as anew:
        assert anew == folder and not (folder / "trace").exists()
    forget(folder)
    assert list(tmp_path.iterdir()) == []


def test_another_question_is_refused_with_the_difference(tmp_path):
    question = {"config": {"lam": 0.1, "train": {"steps": 3}}, "data": "abc"}
    with unfinished(tmp_path, question, "auto") as folder:
        pass
    with unfinished(tmp_path, question, str(folder)) as same:
        assert same == folder
    changed = {"config": {"lam": 0.2, "train": {"steps": 3, "clip": 1.0}}, "data": "abc"}
    message = (
        r"(?s)2 problems:.*config.lam: 0.1 then, 0.2 now.*config.train.clip: not there then, 1.0 now.*Say what was"
    )
    with pytest.raises(TrainingError, match=message), unfinished(tmp_path, changed, str(folder)):
        pass
    with pytest.raises(TrainingError, match="is not an unfinished training"), unfinished(tmp_path, question, "/none"):
        pass
