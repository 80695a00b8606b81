"""A training that is killed, or runs into a full disk or into NaN, goes on from its last good checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


def once_in_a_process(words, before=""):
    code = f"import sys\n{before}\nfrom mam.cli import main\nsys.argv = ['mam', 'run', *sys.argv[1:]]\nmain()"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *words, "threads=1"], env=environment, capture_output=True, text=True
    )


KILLS = {
    "in a step": "import mam.training.learner as l\nforward, n = l.Learner.forward, [0]\n"
    "def fatal(self, **batch):\n n[0] += self.training\n if n[0] == 6: os.kill(os.getpid(), 9)\n"
    " return forward(self, **batch)\n"
    "l.Learner.forward = fatal",
    "while a checkpoint is written": "import mam.training.trainer as t\nseal, n = t.seal, [0]\n"
    "def fatal(path):\n n[0] += 1\n if n[0] == 2: os.kill(os.getpid(), 9)\n seal(path)\nt.seal = fatal",
    "while it is sealed": "import mam.training.resumption as c\nwrite, n = c.write_json, [0]\n"
    "def fatal(path, value):\n n[0] += 'seal' in path.name\n if n[0] == 3: os.kill(os.getpid(), 9)\n"
    " write(path, value)\n"
    "c.write_json = fatal",
    "before the result": "import mam.records.folder as r\n"
    "r.RunFolder.finish = lambda self, result: os.kill(os.getpid(), 9)",
}


GOES_ON_FROM = {"in a step": 4, "while a checkpoint is written": 2, "while it is sealed": 4, "before the result": 6}


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(lesson):
    words = [*lesson, "train=lmam", "lam=0.3", "train.patience=2"]  # dropout and SpecAugment are on in this target
    finished = once_in_a_process([*words, "outputs=whole"])
    assert finished.returncode == 0, finished.stderr
    assert "goes on" not in finished.stdout
    (whole,) = Path("whole").rglob("result.json")
    for i, (moment, fatal) in enumerate(KILLS.items()):
        outputs = f"outputs=killed{i}"
        killed = once_in_a_process([*words, outputs], f"import os\n{fatal}")
        assert killed.returncode == -signal.SIGKILL, moment
        assert list(Path(f"killed{i}/unfinished").rglob("checkpoint-*")), moment
        resumed = once_in_a_process([*words, outputs])
        assert resumed.returncode == 0, resumed.stderr
        assert ("was not written to the end; it is passed over" in resumed.stdout) == (
            "checkpoint" in moment or "sealed" in moment
        )
        (result,) = Path(f"killed{i}").rglob("result.json")
        says = f"the training goes on from step {GOES_ON_FROM[moment]}, killed{i}/unfinished/"
        assert says in resumed.stdout and says in (result.parent / "mam.log").read_text(), moment
        assert len(list(Path(f"killed{i}").rglob("mam.log"))) == 1, "what the killed one left is removed"
        for name in ("predictions.jsonl", "metrics.jsonl", "lambda.csv", "model/model.safetensors"):
            assert (result.parent / name).read_bytes() == (whole.parent / name).read_bytes(), (moment, name)
        assert not Path(f"killed{i}/unfinished").exists()


def test_a_full_disk_is_named_and_the_last_checkpoint_stays(lesson, monkeypatch):
    from transformers import Trainer

    save, times = Trainer._save_checkpoint, []

    def full(self, model, trial):
        times.append(1)
        if len(times) == 2:
            raise OSError(28, "No space left on device")
        save(self, model, trial)

    monkeypatch.setattr(Trainer, "_save_checkpoint", full)
    with pytest.raises(TrainingError, match=r"checkpoint-4: cannot be written .*No space left.*go on|goes on"):
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
    with pytest.raises(TrainingError, match=r"step 4: .* are not numbers\. The last good checkpoint is kept"):
        once([*lesson, "train=finetune", "lam=0"])
    assert [path.name for path in Path("outputs/unfinished").glob("*/all/*")] == ["checkpoint-2"]


def test_another_unfinished_training_is_pointed_to(lesson, monkeypatch, capsys):
    with monkeypatch.context() as broken:
        broken.setattr(HubTarget, "save", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(TrainingError):
            once([*lesson, "train=finetune", "lam=0"])
    once([*lesson, "train=finetune", "lam=0", "train.warmup=0.2"], Workbench(Terminal()))
    shown = " ".join(capsys.readouterr().out.split())
    assert "another training is unfinished in outputs/unfinished/" in shown
    assert "config.train.warmup: 0.1 then, 0.2 now. This one begins anew" in shown


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(lesson, monkeypatch):
    losses, times = Learner.losses, []

    def poisoned(self, *args):
        times.append(self.training)
        return losses(self, *args) * (float("nan") if sum(times) == 4 else 1)

    monkeypatch.setattr(Learner, "losses", poisoned)
    with pytest.raises(TrainingError, match=r"the loss is not a number at clip\d"):
        once([*lesson, "train=finetune", "lam=0"])
    assert [path.name for path in Path("outputs/unfinished").glob("*/all/*")] == ["checkpoint-2"]
    (logged,) = Path("outputs/unfinished").glob("*/all.metrics.jsonl")
    assert [entry["step"] for entry in read_jsonl(logged) if "loss" in entry] == [1, 2, 3]
