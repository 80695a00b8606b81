"""What cannot be trained is refused, with the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.audio import write_folder
from support.runs import once, pair_words

from mam.errors import ConfigError, DataError, TrainingError
from mam.evaluation.workbench import Workbench


def test_characters_that_cannot_be_taught_are_found_before_the_baseline(lesson, taught, monkeypatch):
    table = (taught / "metadata.csv").read_text().replace("BOTTLES", "BÖTTLES")
    (taught / "metadata.csv").write_text(table)
    monkeypatch.setattr(Workbench, "baseline", lambda *_: pytest.fail("computed all the same"))
    with pytest.raises(DataError, match="lacks characters of the transcripts: 'Ö'"):
        once([*lesson, "train=finetune", "lam=0", "data.normalizer=none"])
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train=nonsense"], "train=nonsense: not known. Choose one of:\n      finetune"),
        (["train=lmam", "train.lam.per=word"], "train.lam.per=word: not known"),
        (
            ["train=lmam", "control=add"],
            "control=add: adds the target's weights, .* Set method=reparam",
        ),
        (
            ["train=lmam", "data.split=dev"],
            "data.split=dev: trainings learn from train, choose on dev and report on test",
        ),
        (["train=lmam", "dtype=bfloat16"], "dtype=bfloat16: weights are trained in float32"),
        (["train=finetune", "train.lam.per=part"], "train.lam.per: has no effect without train=lmam"),
        (["train=finetune", "train.trainable=lambda"], "there is no λ to train"),
        (["train.steps=3"], "train.steps: has no effect without train=finetune or train=lmam"),
        (["train=lmam", "train.report_to=[paper]"], "train.report_to=paper: not known. Choose one of: mlflow"),
        (["train=lmam", "train.warmup=2"], "train.warmup=2.0: must be from 0 to 1"),
        (["train=finetune", "train.head_learning_rate=1"], "has no effect on speech recognition"),
        (["train=lmam", "lam=0", "train.lam.constraint=sigmoid"], "λ cannot start at lam=0"),
        (
            ["train=lmam", "schedule=linear", "train.lam.per=global"],
            "train.lam.per=global: schedule=linear gives more than one initial λ",
        ),
        (["train=lmam", "device=cpu", "train.precision=float16"], "train.precision=float16: not available on a CPU"),
    ],
)
def test_settings_that_make_no_sense_are_refused(words, message):
    from mam.config.compose import jobs

    with pytest.raises(ConfigError, match=message):
        jobs(words)


def test_without_a_train_split(hubert_group, bert, tmp_path):
    folder = write_folder(tmp_path / "untaught", [0.6, 0.9], split=["test", "test"])
    with pytest.raises(
        DataError, match="train=lmam needs the splits train and dev: data.split=train: the split is empty"
    ):
        once([*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={folder}", "train=lmam"])


def test_a_tracker_that_is_not_installed(lesson, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        TrainingError, match=r"train.report_to=tensorboard: .*Install it: pip install 'mam-bench\[tracking\]'"
    ):
        once([*lesson, "train=lmam", "lam=0.3", "train.report_to=[tensorboard]"])
