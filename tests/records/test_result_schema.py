"""`result.json` is what its types say: the schema in the package is theirs, and every kind of run is read unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from support.runs import QUICK, once

import mam.records
from mam.identity import Code
from mam.records.reading import read_result
from mam.records.result import plain
from mam.records.validity import schema

SCHEMA = Path(mam.records.__file__).parent / "result.schema.json"


def test_the_schema_in_the_package_is_that_of_the_types():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema()


def recorded() -> list[tuple[dict, Path]]:
    """Every result below the outputs as it stands there."""
    paths = sorted(Path("outputs").rglob("result.json"))
    return [(json.loads(path.read_text(encoding="utf-8")), path.parent) for path in paths]


def unchanged(count: int) -> None:
    """Every recorded result comes back from its types as it was written, key by key in the same order."""
    found = recorded()
    assert len(found) == count
    for content, folder in found:
        jsonschema.validate(content, schema())  # another implementation of the schema agrees
        again = plain(read_result(folder))
        assert again == content and json.dumps(again) == json.dumps(content)


def test_merges_of_speech(words):
    for more in (
        [],
        ["lam=0"],
        ["control=random_iid", "lam=0.3"],
        ["control=shrink_v", "parts=kv"],
        ["heads=1", "align=permute", "method=slerp", "schedule=linear"],
        ["data.metric=cer"],
        ["evaluate.interval=bootstrap"],
    ):
        outcome = once([*words, "evaluate.draws=200", *more])
        assert read_result(outcome.folder) == outcome.result
    unchanged(7)


def test_choices_on_dev(split_words):
    for more in (
        ["evaluate.by=[split]"],
        ["tune=grid", "tune.values=[0,0.3]"],
        ["tune=race", "tune.values=[0,0.3]"],
        ["evaluate.dev=true"],
    ):
        once([*split_words, *more])
    once([*split_words, "tune=cmaes", "tune.evaluations=3"])
    once([*split_words, "tune=entropy", "tune.epochs=1", "tune.audio=test"])
    unchanged(6)


def test_trainings(lesson):
    for more in (["train=finetune", "lam=0"], ["train=finetune", "lam=0.3"], ["train=lmam", "lam=0.3"]):
        once([*lesson, *more, *QUICK])
    results = [read_result(folder) for _, folder in recorded()]
    assert sorted(result.baseline.kind for result in results) == ["ft", "ft", "unmerged"]
    unchanged(3)


def test_a_language_that_was_told(spoken):
    outcome = once([*spoken, "model.language=it", "data.language=it", "lam=0.3"])
    content = json.loads((outcome.folder / "result.json").read_text())
    assert content["model"]["decoder"]["from"] == outcome.result.model.decoder.origin == "config"
    unchanged(1)


def test_sounds(event_words):
    for more in (["lam=0.3"], ["lam=0.3", "head=probe_refit"]):
        once([*event_words, *more, "evaluate.draws=200"])
    ((content, _), *_) = recorded()
    assert "C" in content["head"]["folds"][0] and "in_windows" in content["data"]
    unchanged(2)


@pytest.mark.parametrize("commit", [None, "0" * 40])
def test_absent_fields_are_left_out_and_others_are_null(words, commit):
    result = once([*words, "evaluate.draws=200"]).result
    assert "scored" not in plain(result) and plain(result)["train"] is None
    code = Code("a" * 64, commit, None)
    content = plain(replace(result, env=replace(result.env, code=code)))
    assert content["env"]["code"] == {"sha256": "a" * 64, "commit": commit, "dirty": None}
    assert "code" not in plain(replace(result, env=replace(result.env, code=None)))["env"]
