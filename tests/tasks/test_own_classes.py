"""Sounds told apart by the classes of a checkpoint's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.audio import CLASSES
from support.models import make_beats
from support.runs import jobs, once

from mam.data.esc50 import audioset_names
from mam.errors import DataError
from mam.evaluation.workbench import Workbench
from mam.records.result import plain
from mam.small_files import read_jsonl
from mam.tasks import events


def own_head(tmp_path: Path, labels: list[str]) -> list[str]:
    path = make_beats(tmp_path / "tuned.pt", labels, finetuned_model=True, predictor_class=len(labels))
    return [f"model.target={path}", "head=checkpoint"]


def test_a_checkpoints_own_classes(event_words, tmp_path):
    words = [*event_words, *own_head(tmp_path, ["speech", *CLASSES])]
    outcome = once([*words, "data.split=all"])
    rows = read_jsonl(outcome.folder / "predictions.jsonl")
    config = jobs(words)[0].config
    scores = np.stack(Workbench().baseline(config, 0).items)
    expected = [CLASSES[i] for i in scores[:, 1:].argmax(1)]  # "speech" is no class of the data
    assert [row["prediction"] for row in read_jsonl(outcome.folder / "baseline.jsonl")] == expected
    assert outcome.result.metrics.clips == 18 and len(rows) == 18
    assert plain(outcome.result.head) == {"name": "checkpoint", "folds": [], "without_class": []}
    torch.testing.assert_close(torch.tensor(scores).sum(1) > 0, torch.ones(18, dtype=torch.bool))


def test_classes_that_the_checkpoint_lacks_are_left_out_and_counted(event_words, tmp_path):
    outcome = once([*event_words, *own_head(tmp_path, ["hum", "click"])])
    assert outcome.result.data.n == outcome.result.metrics.clips == 12
    assert outcome.result.head.without_class == ["buzz"]
    assert "the checkpoint has no class for buzz (clips left out: 6)" in outcome.result.diagnostics
    with pytest.raises(DataError, match="none of the classes buzz, click, hum is among the checkpoint's 2 "):
        once([*event_words, *own_head(tmp_path, ["cat", "dog"])])


def test_audioset_labels_stand_for_classes_by_id_or_name():
    by_id = events.own_classes(["/m/09x0r", "/m/0bt9lr", "/m/06mb1", "/m/05tny_"], ["dog", "rain", "can_opening"])
    assert by_id == {"dog": [1, 3], "rain": [2], "can_opening": []}
    assert events.own_classes(["Bark", "Speech", "Walk, footsteps"], ["dog", "footsteps"]) == {
        "dog": [0],
        "footsteps": [2],
    }
    assert events.own_classes(["dog", "Bark"], ["dog"]) == {"dog": [0]}  # the very name goes first


def test_the_table_covers_esc50_once():
    names = audioset_names()
    assert len(names) == 50 and sum(not found for found in names.values()) == 3
    used = [name for found in names.values() for name in found]
    assert len(used) == len(set(used)), "one AudioSet label must not mean two classes"
