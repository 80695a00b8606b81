"""Which checkpoints of an unfinished training are used, and which question they answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mam.errors import MamError, TrainingError
from mam.training.resumption import folder_of, forget, unfinished
from mam.training.sealing import last_whole, seal


def checkpoint(folder: Path, step: int, best: int | None = None, is_sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (path / name).write_bytes(bytes(range(step % 200)))
    state = {"global_step": step, "best_global_step": best, "log_history": [], "stateful_callbacks": {}}
    state |= {"max_steps": 200, "num_input_tokens_seen": 0, "total_flos": 0.0}
    (path / "trainer_state.json").write_text(json.dumps(state))
    if is_sealed:
        seal(path)
    return path


def test_the_newest_whole_checkpoint_is_used_and_broken_ones_go_by_name(tmp_path):
    assert last_whole(tmp_path / "none", print) is None
    first = checkpoint(tmp_path, 9)
    second = checkpoint(tmp_path, 10)  # after 9, though not by its letters
    unsealed = checkpoint(tmp_path, 100, is_sealed=False)
    said: list[str] = []
    assert last_whole(tmp_path, said.append) == second
    assert said == [f"{unsealed}: was not written completely; it is not used"] and not unsealed.exists()
    (second / "model.safetensors").write_bytes(b"cut")
    assert last_whole(tmp_path, said.append) == first
    assert said[1] == f"{second}: model.safetensors changed or missing; it is not used"
    (first / "seal.json").write_text("{")
    assert last_whole(tmp_path, said.append) is None and "its seal.json is damaged" in said[2]


def test_a_checkpoint_whose_best_is_broken_does_not_serve(tmp_path):
    best = checkpoint(tmp_path, 5, best=5)
    checkpoint(tmp_path, 10, best=5)
    (best / "model.safetensors").write_bytes(b"cut")
    said: list[str] = []
    assert last_whole(tmp_path, said.append) is None
    assert "its best checkpoint, checkpoint-5, is damaged (model.safetensors changed or missing)" in said[0]


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    for step in (10, 20, 30, 40, 50):
        checkpoint(tmp_path, step, best=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-20", "checkpoint-40", "checkpoint-50"]


def test_the_best_of_both_newest_is_kept(tmp_path):
    """If the newest is damaged later, the one before it still has its best."""
    for step, best in ((10, 10), (20, 10), (30, 10), (40, 40)):
        checkpoint(tmp_path, step, best)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-30", "checkpoint-40"]
    (tmp_path / "checkpoint-40" / "model.safetensors").write_bytes(b"cut")
    assert last_whole(tmp_path, print) == tmp_path / "checkpoint-30"


def test_what_cannot_be_removed_is_named(tmp_path, monkeypatch):
    checkpoint(tmp_path, 10, is_sealed=False)
    monkeypatch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(OSError(13, "Permission denied")))
    with pytest.raises(MamError, match=r"checkpoint-10: cannot be removed \(Permission denied\). Remove it by hand"):
        last_whole(tmp_path, print)


def test_a_folder_in_use_is_not_forgotten(tmp_path):
    question = {"data": "abc"}
    with unfinished(tmp_path, question, "auto") as folder:
        forget(folder)
        assert (folder / "question.json").is_file()
    forget(folder_of(tmp_path, question))
    assert not folder.exists()
    forget(folder)


def test_a_question_has_one_folder_and_one_trainer(tmp_path):
    question = {"config": {"lam": 0.1, "train": {"steps": 3}}, "data": "abc"}
    with unfinished(tmp_path, question, "auto") as folder:
        (folder / "trace").touch()
        with (
            pytest.raises(TrainingError, match="another process is running this training"),
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
        "(?s)2 problems:.*config.lam: was 0.1, is now 0.2.*config.train.clip: was missing, is now 1.0.*Use the earlier"
    )
    with pytest.raises(TrainingError, match=message), unfinished(tmp_path, changed, str(folder)):
        pass
    with pytest.raises(TrainingError, match="is not an unfinished training"), unfinished(tmp_path, question, "/none"):
        pass
