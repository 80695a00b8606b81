"""Audio events: a new head is trained by fold, and saved so that the saved model alone gives the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.audio import CLASSES
from support.models import LAYERS
from support.runs import jobs, once, pair_words
from transformers import AutoModelForAudioClassification

from mam.errors import DataError
from mam.evaluation.workbench import Workbench
from mam.models.beats import BeatsModel
from mam.small_files import read_jsonl
from mam.training.folds import classes_of, folds

QUICK = ["train.steps=4", "train.evaluate_every=2", "train.log_every=1", "train.batch_size=3"]


def test_a_fold_learns_on_chooses_on_and_tests_clips_that_have_none_in_common(event_words):
    config = jobs([*event_words, "train=finetune", "lam=0"])[0].config
    made = folds(config, Workbench())
    assert [fold.name for fold in made] == ["fold 1", "fold 2", "fold 3"]
    for number, fold in enumerate(made, 1):
        parts = [fold.train, fold.dev, fold.test]
        assert [set(part.corpus.column("fold")) for part in parts] == [
            {(number + 1) % 3 + 1},
            {number % 3 + 1},
            {number},
        ]
    assert classes_of(made) == sorted(CLASSES)
    made[0].train.corpus = made[0].train.corpus.only([0])
    with pytest.raises(DataError, match="fold 1: these classes have no training clips:"):
        classes_of(made)


@pytest.mark.parametrize("family", ["beats", "hubert_layer", "whisper", "ast"])
def test_every_family_trains_and_saves_what_it_learnt(family, request, event_words, vit, sounds):
    target = request.getfixturevalue(family)
    words = [*event_words[:1], *event_words[1:4], *pair_words(target, vit), "data.fold=2"]
    outcome = once([*words, *QUICK, "train=lmam", "lam=0.2", "train.time_mask=0.3", "train.label_smoothing=0.1"])
    rows = read_jsonl(outcome.folder / "predictions.jsonl")
    assert {row["fold"] for row in rows} == {2} and len(rows) == 6
    assert [fold.fold for fold in outcome.result.train.folds] == ["fold 2"]
    assert outcome.result.baseline.kind == "unmerged" and outcome.result.head.name == "trained"
    saved = outcome.folder / "model" / "fold 2"
    if family == "beats":
        saved = saved / "beats.pt"
        assert BeatsModel.from_checkpoint(saved).labels == dict(enumerate(sorted(CLASSES)))
    else:
        _, info = AutoModelForAudioClassification.from_pretrained(saved, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
    again = once([*words, f"model.target={saved}", "head=checkpoint", "lam=0"])
    theirs = read_jsonl(again.folder / "predictions.jsonl")
    assert [row["prediction"] for row in theirs] == [row["prediction"] for row in rows]
    if family not in ("beats", "ast"):  # whose own scores are sigmoids
        for ours, other in zip(rows, theirs, strict=True):
            np.testing.assert_allclose(
                [ours["scores_top5"][name] for name in sorted(ours["scores_top5"])],
                [other["scores_top5"][name] for name in sorted(other["scores_top5"])],
                atol=1e-5,
            )


def test_all_folds_are_trained_and_ft_is_found(event_words):
    ft = once([*event_words, *QUICK, "train=finetune", "lam=0", "train.save_model=false"])
    assert len(ft.result.train.folds) == 3 and ft.result.data.n == 18
    assert not (ft.folder / "model").exists()
    lmam = once([*event_words, *QUICK, "train=lmam", "lam=0.2", "train.save_model=false"])
    assert lmam.result.baseline.kind == "ft" and Path(lmam.result.train.ft) == ft.folder
    assert len(lmam.result.merge.lam) == LAYERS
    lines = (lmam.folder / "lambda.csv").read_text().splitlines()
    assert lines[0] == "step,layer,part,lam,fold" and {line.split(",")[4] for line in lines[1:]} == {
        "fold 1",
        "fold 2",
        "fold 3",
    }
