"""A training is told the language of its run, and what it saves says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.audio import write_folder
from support.models import LAYERS
from support.runs import data_words, jobs, once, pair_words, predictions

from mam.data.corpus import open_corpus
from mam.errors import DataError
from mam.evaluation.workbench import Workbench
from mam.small_files import read_jsonl


def test_transcripts_longer_than_the_decoder_are_named_and_left_out_on_request(spoken, clips):
    table = (clips / "metadata.csv").read_text()
    (clips / "metadata.csv").write_text(table.replace("ANNA", "A" * 60))
    ids = [f"clip{i}" for i in range(5)]
    for split in ("train", "dev", "test"):
        Path(f"{split}.txt").write_text("\n".join(ids))
    words = [word for word in spoken if word != "data.split=all"]
    words += [f"data.ids.{split}={split}.txt" for split in ("train", "dev", "test")]
    lesson = [*words, "model.language=it", "lam=0", "train=finetune", "train.steps=2", "train.evaluate_every=2"]
    # 60 letters, 3 tokens of the prompt, the end: 64 is what fits.
    assert open_corpus(jobs(words)[0].config.data).column("text")[1] == "A" * 60
    outcome = once([*lesson, "train.warmup=0"])
    assert outcome.result.train.folds[0].skipped == []
    (clips / "metadata.csv").write_text(table.replace("ANNA", "A" * 61))
    with pytest.raises(
        DataError, match=r"clip1: its transcript needs 65 tokens, but the decoder allows only 64\nTo skip such"
    ):
        once(lesson)
    outcome = once([*lesson, "data.on_bad=skip"])
    (skipped,) = outcome.result.train.folds[0].skipped
    assert skipped.id == "clip1" and "65 tokens" in skipped.reason
    assert [row["id"] for row in read_jsonl(outcome.folder / "predictions.jsonl")] == ids


def test_a_fine_tuned_checkpoint_says_the_language_it_was_taught(spoken, bert, clips):
    for split in ("train", "dev", "test"):
        Path(f"{split}.txt").write_text("\n".join(f"clip{i}" for i in range(5)))
    words = [word for word in spoken if word != "data.split=all"]
    words += [f"data.ids.{split}={split}.txt" for split in ("train", "dev", "test")]
    outcome = once([*words, "model.language=it", "lam=0", "train=finetune", "train.steps=2", "train.evaluate_every=2"])
    saved = outcome.folder / "model"
    settings = json.loads((saved / "generation_config.json").read_text())
    assert (settings["language"], settings["task"]) == ("it", "transcribe")
    again = once([*pair_words(saved, bert), *data_words(clips), "lam=0"])
    assert again.result.model.decoder.origin == "generation_config"
    assert predictions(again) == predictions(outcome)
    assert again.result.merge.lam == [0.0] * LAYERS


def test_a_training_is_told_the_language_that_was_detected(polyglot, bert, tmp_path):
    """Lessons are checked with the prompt of this run, not with none and not with an earlier run's."""
    folder = write_folder(tmp_path / "taught", [0.6, 0.9, 1.1], split=["train", "dev", "test"])
    words = [*pair_words(polyglot, bert), "data=audiofolder", f"data.root={folder}", "evaluate.draws=200"]
    taught = ["lam=0", "train=finetune", "train.steps=1", "train.evaluate_every=1", "train.save_model=false"]
    bench = Workbench()
    once([*words, "lam=0", "model.language=de"], bench)
    decoder = once([*words, *taught], bench).result.model.decoder
    assert decoder.origin == "detected" and decoder.prompt[1] == f"<|{decoder.language}|>"
