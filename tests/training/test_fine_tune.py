"""FT, MAM-FT and L-MAM from the command line's words to the run folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from support.runs import QUICK, once, pair_words, predictions
from transformers import HubertForCTC, WhisperForConditionalGeneration

from mam.errors import ConfigError, TrainingError
from mam.report.lambdas import draw_lambdas
from mam.small_files import read_jsonl
from mam.training import fine_tune


def course(outcome):
    with (outcome.folder / "lambda.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def raw(outcome):
    return (outcome.folder / "predictions.jsonl").read_bytes()


def test_ft_mam_ft_and_lmam(lesson):
    ft = once([*lesson, "train=finetune", "lam=0"])
    assert ft.result.baseline.kind == "unmerged" and not any(ft.result.merge.lam)
    assert not any("the baseline is" in note for note in ft.result.diagnostics)
    (fold,) = ft.result.train.folds
    assert (fold.train, fold.dev, fold.steps) == (6, 2, 6) and fold.best_step in (2, 4, 6)
    logs = read_jsonl(ft.folder / "metrics.jsonl")
    wers = [log["eval_wer"] for log in logs if "eval_wer" in log]
    assert [log["step"] for log in logs if "eval_wer" in log] == [0, 2, 4, 6]
    assert ft.result.train.dev.before == pytest.approx(wers[0])
    assert ft.result.train.dev.after == pytest.approx(min(wers[1:]))
    losses = [log["loss"] for log in logs if "loss" in log]
    assert len(losses) == 6

    mam_ft = once([*lesson, "train=finetune", "lam=0.3"])
    lmam = once([*lesson, "train=lmam", "lam=0.3", "train.lam.learning_rate=0.05"])
    for outcome in (mam_ft, lmam):
        result = outcome.result
        assert result.baseline.kind == "ft" and Path(result.train.ft) == ft.folder
        assert predictions(outcome, "baseline.jsonl") == predictions(ft)
        assert result.train.lam_at_start == [0.3, 0.3, 0.3]
    assert mam_ft.result.merge.lam == [0.3, 0.3, 0.3] != lmam.result.merge.lam
    assert not (Path("outputs") / "unfinished").exists()

    rows = course(lmam)
    assert set(rows[0]) == {"step", "layer", "part", "lam"} and len(rows) == 7 * 3 * 3  # steps 0 to 6, layers, q k v
    best = lmam.result.train.folds[0].best_step
    at_best = {int(row["layer"]): float(row["lam"]) for row in rows if int(row["step"]) == best}
    assert lmam.result.merge.lam == pytest.approx([at_best[layer] for layer in range(3)])
    draw_lambdas(lmam.folder, lmam.result)
    assert (lmam.folder / "lambda.png").stat().st_size > 10_000
    draw_lambdas(ft.folder, ft.result)
    assert not (ft.folder / "lambda.png").exists()
    assert once([*lesson, "train=lmam", "lam=0.3", "train.lam.learning_rate=0.05"]).status == "skipped"


@pytest.mark.parametrize("method", ["linear", "reparam"])
def test_lambda_may_start_from_zero(lesson, method):
    """What was learnt counts as merged, not what it started from."""
    words = [f"method={method}", "train.lam.constraint=none", "train.lam.learning_rate=0.05"]
    outcome = once([*lesson, "train=lmam", "lam=0", *words])
    merge = outcome.result.merge
    assert outcome.result.train.lam_at_start == [0, 0, 0] and all(merge.lam)
    assert (merge.tensors, merge.parameters) == (18, 3 * 3 * (32 * 32 + 32)) and merge.method == method


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
    assert any("changed by less than" in note for note in frozen.result.diagnostics)


def test_lambda_rests_while_it_warms_up_and_is_pulled_back(lesson):
    outcome = once([*lesson, "train=lmam", "lam=0.5", "train.lam.warmup_steps=4", "train.lam.learning_rate=0.1"])
    rows = course(outcome)
    by_step = {int(row["step"]): float(row["lam"]) for row in rows if (row["layer"], row["part"]) == ("0", "q")}
    assert {by_step[step] for step in range(5)} == {0.5} and by_step[5] != 0.5


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
    assert outcome.result.merge.lam != [0.3] * 3
    again = once([*lesson[: -len(QUICK)], "lam=0", f"model.target={outcome.folder / 'model'}"])
    assert predictions(again) == predictions(outcome)


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
    assert half.result.train.settings["precision"] == "bfloat16"
    assert any(a != 0.3 for a in half.result.merge.lam)
    # Where the device is left open it is known only when the training begins.
    for device, error in (("cpu", ConfigError), *([] if torch.cuda.is_available() else [("auto", TrainingError)])):
        with pytest.raises(error, match="train.precision=float16: not available on a CPU"):
            once([*lesson, "train=lmam", "lam=0.3", "train.precision=float16", f"device={device}"])


def test_trackers_write_only_when_asked(lesson):
    once([*lesson, "train=lmam", "lam=0.3"])
    assert not Path("outputs/tensorboard").exists() and not Path("runs").exists()
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    once([*lesson, "train=lmam", "lam=0.3", "train.report_to=[tensorboard]", "force=true"])
    (board,) = Path("outputs/tensorboard").rglob("*tfevents*")
    seen = events.EventAccumulator(str(board)).Reload()
    assert {"train/loss", "eval/wer", "train/lam/0"} <= set(seen.Tags()["scalars"])


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
