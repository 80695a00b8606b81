"""A training that runs into a full disk or into NaN goes on from its last good checkpoint.

Kills are in `tests/runs/test_run_killed.py`, damaged files in `test_training_damaged.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.runs import once

from mam.errors import TrainingError
from mam.evaluation.workbench import Workbench
from mam.models.hub import HubTarget
from mam.small_files import read_jsonl
from mam.terminal import Terminal
from mam.training.learner import Learner


def test_a_full_disk_is_named_and_the_last_checkpoint_stays(lesson, monkeypatch):
    from transformers import Trainer

    save, times = Trainer._save_checkpoint, []

    def full(self, model, trial):
        times.append(1)
        if len(times) == 2:
            raise OSError(28, "No space left on device")
        save(self, model, trial)

    monkeypatch.setattr(Trainer, "_save_checkpoint", full)
    with pytest.raises(
        TrainingError, match=r"checkpoint-4: cannot be written .*No space left.*the same command then continues"
    ):
        once([*lesson, "train=finetune", "lam=0"])
    left = sorted(path.name for path in Path("outputs/unfinished").glob("*/all/*"))
    assert left == ["checkpoint-2"] and not list(Path("outputs").rglob("mam.log"))
    assert once([*lesson, "train=finetune", "lam=0"]).status == "finished"


def test_a_disk_that_is_full_when_the_model_is_saved(lesson, monkeypatch):
    from safetensors import SafetensorError

    def full(self, folder, head=None, classes=()):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(HubTarget, "save", full)
    with pytest.raises(TrainingError, match=r"model: cannot be written .*No space left"):
        once([*lesson, "train=finetune", "lam=0"])
    assert not list(Path("outputs").rglob("mam.log"))
    assert list(Path("outputs/unfinished").glob("*/all/checkpoint-6"))


def test_weights_that_are_not_numbers_are_never_sealed(lesson, monkeypatch):
    step, times = torch.optim.AdamW.step, []

    def poison(self, closure=None):
        step(self, closure)
        times.append(1)
        if len(times) == 4:
            self.param_groups[0]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.AdamW, "step", poison)
    with pytest.raises(
        TrainingError, match=r"step 4: .* are NaN or infinite, such as .*\. The last good checkpoint is kept"
    ):
        once([*lesson, "train=finetune", "lam=0"])
    assert [path.name for path in Path("outputs/unfinished").glob("*/all/*")] == ["checkpoint-2"]


def test_another_unfinished_training_is_pointed_to(lesson, monkeypatch, capsys):
    with monkeypatch.context() as broken:
        broken.setattr(HubTarget, "save", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(TrainingError):
            once([*lesson, "train=finetune", "lam=0"])
    once([*lesson, "train=finetune", "lam=0", "train.warmup=0.2"], Workbench(Terminal()))
    shown = " ".join(capsys.readouterr().out.split())
    assert "has another, unfinished training" in shown
    assert "config.train.warmup: was 0.1, is now 0.2). This training starts" in shown


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(lesson, monkeypatch):
    losses, times = Learner.losses, []

    def poisoned(self, *args):
        times.append(self.training)
        return losses(self, *args) * (float("nan") if sum(times) == 4 else 1)

    monkeypatch.setattr(Learner, "losses", poisoned)
    with pytest.raises(TrainingError, match=r"the loss is NaN or infinite for clip\d"):
        once([*lesson, "train=finetune", "lam=0"])
    assert [path.name for path in Path("outputs/unfinished").glob("*/all/*")] == ["checkpoint-2"]
    (logged,) = Path("outputs/unfinished").glob("*/all.metrics.jsonl")
    assert [entry["step"] for entry in read_jsonl(logged) if "loss" in entry] == [1, 2, 3]
