"""FT, MAM-FT and L-MAM from the command line's words to the run folder; killed, filled and shared by two processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.audio import write_folder
from support.runs import once, pair_words, predictions
from transformers import HubertForCTC, WhisperForConditionalGeneration

from mam.errors import ConfigError, DataError, TrainingError
from mam.evaluation.workbench import Workbench
from mam.files import read_jsonl
from mam.models.hub import HubTarget
from mam.report.lambdas import draw_lambdas
from mam.terminal import Terminal
from mam.training import fine_tune
from mam.training.learner import Learner

QUICK = ["train.steps=6", "train.evaluate_every=2", "train.log_every=1", "train.batch_size=4"]


@pytest.fixture
def taught(tmp_path):
    seconds = [0.6, 1.3, 0.9, 1.3, 0.8, 1.0, 1.1, 0.7, 0.9, 1.2]
    return write_folder(tmp_path / "taught", seconds, split=["train"] * 6 + ["dev"] * 2 + ["test"] * 2)


@pytest.fixture
def lesson(hubert_group, bert, taught):
    return [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={taught}", *QUICK]


def course(outcome):
    with (outcome.folder / "lambda.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def raw(outcome):
    return (outcome.folder / "predictions.jsonl").read_bytes()


def test_ft_mam_ft_and_lmam(lesson):
    ft = once([*lesson, "train=finetune", "lam=0"])
    assert ft.result["baseline"]["kind"] == "unmerged" and not any(ft.result["merge"]["lam"])
    assert not any("its FT" in note for note in ft.result["diagnostics"])
    (fold,) = ft.result["train"]["folds"]
    assert (fold["train"], fold["dev"], fold["steps"]) == (6, 2, 6) and fold["best_step"] in (2, 4, 6)
    logs = read_jsonl(ft.folder / "metrics.jsonl")
    wers = [log["eval_wer"] for log in logs if "eval_wer" in log]
    assert [log["step"] for log in logs if "eval_wer" in log] == [0, 2, 4, 6]
    assert ft.result["train"]["dev"]["before"] == pytest.approx(wers[0])
    assert ft.result["train"]["dev"]["after"] == pytest.approx(min(wers[1:]))
    losses = [log["loss"] for log in logs if "loss" in log]
    assert len(losses) == 6

    mam_ft = once([*lesson, "train=finetune", "lam=0.3"])
    lmam = once([*lesson, "train=lmam", "lam=0.3", "train.lam.learning_rate=0.05"])
    for outcome in (mam_ft, lmam):
        result = outcome.result
        assert result["baseline"]["kind"] == "ft" and Path(result["train"]["ft"]) == ft.folder
        assert predictions(outcome, "baseline.jsonl") == predictions(ft)
        assert result["train"]["lam_at_start"] == [0.3, 0.3, 0.3]
    assert mam_ft.result["merge"]["lam"] == [0.3, 0.3, 0.3] != lmam.result["merge"]["lam"]
    assert not (Path("outputs") / "unfinished").exists()

    rows = course(lmam)
    assert set(rows[0]) == {"step", "layer", "part", "lam"} and len(rows) == 7 * 3 * 3  # steps 0 to 6, layers, q k v
    best = lmam.result["train"]["folds"][0]["best_step"]
    at_best = {int(row["layer"]): float(row["lam"]) for row in rows if int(row["step"]) == best}
    assert lmam.result["merge"]["lam"] == pytest.approx([at_best[layer] for layer in range(3)])
    draw_lambdas(lmam.folder, lmam.result)
    assert (lmam.folder / "lambda.png").stat().st_size > 10_000
    draw_lambdas(ft.folder, ft.result)
    assert not (ft.folder / "lambda.png").exists()
    assert once([*lesson, "train=lmam", "lam=0.3", "train.lam.learning_rate=0.05"]).status == "skipped"


@pytest.mark.parametrize(
    ("family", "architecture", "train"),
    [
        ("hubert_group", HubertForCTC, ["train=finetune", "lam=0"]),
        ("hubert_layer", HubertForCTC, ["train=lmam", "lam=0.4", "train.lam.per=head", "parts=qkvo"]),
        ("whisper", WhisperForConditionalGeneration, ["train=lmam", "lam=0.4"]),
    ],
)
def test_what_is_saved_is_a_plain_checkpoint_that_predicts_the_same(family, architecture, train, request, bert, taught):
    words = [*pair_words(request.getfixturevalue(family), bert), "data=audiofolder", f"data.root={taught}"]
    outcome = once([*words, *QUICK, *train])
    saved = outcome.folder / "model"
    again = once([*words, "lam=0", f"model.target={saved}"])
    assert raw(again) == raw(outcome)
    model, info = architecture.from_pretrained(saved, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and model.dtype == torch.float32


def test_lambda_alone_that_does_not_move_is_the_fixed_merge(lesson):
    still = ["train.trainable=lambda", "train.lam.learning_rate=0", "train.weight_decay=0"]
    frozen = once([*lesson, "train=lmam", "lam=0.5", *still])
    zero_shot = once([*lesson[:-4], "lam=0.5"])
    assert predictions(frozen) == predictions(zero_shot)
    assert any("did not move" in note for note in frozen.result["diagnostics"])


def test_lambda_rests_while_it_warms_up_and_is_pulled_back(lesson):
    outcome = once([*lesson, "train=lmam", "lam=0.5", "train.lam.warmup_steps=4", "train.lam.learning_rate=0.1"])
    rows = course(outcome)
    by_step = {int(row["step"]): float(row["lam"]) for row in rows if (row["layer"], row["part"]) == ("0", "q")}
    assert {by_step[step] for step in range(5)} == {0.5} and by_step[5] != 0.5


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


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(lesson):
    words = [*lesson, "train=lmam", "lam=0.3", "train.patience=2"]  # dropout and SpecAugment are on in this target
    finished = once_in_a_process([*words, "outputs=whole"])
    assert finished.returncode == 0, finished.stderr
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


def test_characters_that_cannot_be_taught_are_found_before_the_baseline(lesson, taught, monkeypatch):
    table = (taught / "metadata.csv").read_text().replace("BOTTLES", "BÖTTLES")
    (taught / "metadata.csv").write_text(table)
    monkeypatch.setattr(Workbench, "baseline", lambda *_: pytest.fail("computed all the same"))
    with pytest.raises(DataError, match="lacks characters of the transcripts: 'Ö'"):
        once([*lesson, "train=finetune", "lam=0", "data.normalizer=none"])
    assert not Path("outputs").exists()


def test_another_unfinished_training_is_pointed_to(lesson, monkeypatch, capsys):
    with monkeypatch.context() as broken:
        broken.setattr(HubTarget, "save", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(TrainingError):
            once([*lesson, "train=finetune", "lam=0"])
    once([*lesson, "train=finetune", "lam=0", "train.warmup=0.2"], Workbench(Terminal()))
    shown = " ".join(capsys.readouterr().out.split())
    assert "another training is unfinished in outputs/unfinished/" in shown
    assert "config.train.warmup: 0.1 then, 0.2 now. This one begins anew" in shown


def test_lambda_is_pulled_towards_where_it_started(lesson):
    ways = []
    for pull in (0, 1000):
        outcome = once([*lesson, "train=lmam", "lam=0.5", "train.lam.learning_rate=0.02", f"train.lam.pull={pull}"])
        ways.append(sum(abs(float(row["lam"]) - 0.5) for row in course(outcome)))
    assert ways[1] < 0.6 * ways[0]


@pytest.mark.parametrize(
    "words",
    [
        ["train.lam.constraint=tanh", "train.lam.per=part"],
        ["train.lam.constraint=none", "train.trainable=attention"],
        ["train.lam.constraint=sigmoid", "train.trainable=head", "train.lam.per=global"],
    ],
)
def test_every_way_of_learning_lambda_ends_in_a_plain_checkpoint(lesson, words):
    outcome = once([*lesson, "train=lmam", "lam=0.3", "train.lam.learning_rate=0.05", *words])
    assert outcome.result["merge"]["lam"] != [0.3] * 3
    again = once([*lesson[: -len(QUICK)], "lam=0", f"model.target={outcome.folder / 'model'}"])
    assert predictions(again) == predictions(outcome)


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train=nonsense"], "train=nonsense: not known. Choose one of:\n      finetune"),
        (["train=lmam", "train.lam.per=word"], "train.lam.per=word: not known"),
        (["train=lmam", "control=add"], "control=add: adds the target's weight, which is itself trained"),
        (["train=lmam", "data.split=dev"], "data.split=dev: a training learns on train"),
        (["train=lmam", "dtype=bfloat16"], "dtype=bfloat16: weights are trained in fp32. Say train.precision"),
        (["train=finetune", "train.lam.per=part"], "train.lam.per: has no effect without train=lmam"),
        (["train=finetune", "train.trainable=lambda"], "there is no λ to train"),
        (["train.steps=3"], "train.steps: has no effect without train=finetune or train=lmam"),
        (["train=lmam", "train.report_to=[paper]"], "train.report_to=paper: not known. Choose one of: mlflow"),
        (["train=lmam", "train.warmup=2"], "train.warmup=2.0: must be from 0 to 1"),
        (["train=finetune", "train.head_learning_rate=1"], "has no effect on speech recognition"),
        (["train=lmam", "lam=0", "train.lam.constraint=sigmoid"], "λ cannot start at lam=0"),
        (["train=lmam", "schedule=linear", "train.lam.per=global"], "one λ cannot start as schedule=linear"),
        (["train=lmam", "device=cpu", "train.precision=float16"], "float16: not usable on a CPU"),
    ],
)
def test_settings_that_make_no_sense_are_refused(words, message):
    from mam.config.compose import jobs

    with pytest.raises(ConfigError, match=message):
        jobs(words)


def test_without_a_train_split(hubert_group, bert, tmp_path):
    folder = write_folder(tmp_path / "untaught", [0.6, 0.9], split=["test", "test"])
    with pytest.raises(
        DataError, match="train=lmam needs the splits train and dev: data.split=train: no example is in it"
    ):
        once([*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={folder}", "train=lmam"])


def test_half_precision_and_accumulation_train_too(lesson):
    whole, parts = (
        once([*lesson, "train=lmam", "lam=0.3", "train.group_by_length=false", "train.steps=2", *words])
        for words in ([], ["train.batch_size=2", "train.accumulate=2"])
    )
    losses = [
        [log["loss"] for log in read_jsonl(one.folder / "metrics.jsonl") if "loss" in log] for one in (whole, parts)
    ]
    assert len(losses[0]) == len(losses[1]) == 2
    half = once([*lesson, "train=lmam", "lam=0.3", "train.precision=bfloat16"])
    assert half.result["train"]["settings"]["precision"] == "bfloat16"
    assert any(a != 0.3 for a in half.result["merge"]["lam"])
    with pytest.raises(TrainingError, match="train.precision=float16: not usable on a CPU"):
        once([*lesson, "train=lmam", "lam=0.3", "train.precision=float16"])  # device=auto finds out


def test_trackers_write_only_when_asked(lesson):
    once([*lesson, "train=lmam", "lam=0.3"])
    assert not Path("outputs/tensorboard").exists() and not Path("runs").exists()
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    once([*lesson, "train=lmam", "lam=0.3", "train.report_to=[tensorboard]", "force=true"])
    (board,) = Path("outputs/tensorboard").rglob("*tfevents*")
    seen = events.EventAccumulator(str(board)).Reload()
    assert {"train/loss", "eval/wer", "train/lam/0"} <= set(seen.Tags()["scalars"])


def test_a_tracker_that_is_not_installed(lesson, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        TrainingError, match=r"train.report_to=tensorboard: .*Install it: pip install 'mam\[tracking\]'"
    ):
        once([*lesson, "train=lmam", "lam=0.3", "train.report_to=[tensorboard]"])


def test_what_is_shared_between_fine_tunings_of_one_baseline():
    question = {
        "config": {
            "lam": 0.1,
            "seed": 1,
            "model": {"target": "t", "source": "s", "task": "asr"},
            "train": {"name": "lmam"},
        },
        "data": "d",
        "source": "s",
    }
    other = json.loads(json.dumps(question))
    other["config"] |= {"lam": 0.0, "train": {"name": "finetune"}}
    other["config"] |= {"align": "permute", "on_mismatch": "project", "project": "svd", "calibration": {"limit": 3}}
    other["calibrated on"] = ["c"]
    other["config"]["model"]["source"] = other["source"] = "x"
    assert fine_tune.ft_key(question) == fine_tune.ft_key(other)
    other["config"]["seed"] = 2
    assert fine_tune.ft_key(question) != fine_tune.ft_key(other)
