"""Sounds: who is fitted on what, what a merge alone does to a probe, the statistics."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from support.audio import CLASSES, write_sounds
from support.runs import jobs, once

from mam.errors import DataError
from mam.evaluation.workbench import Workbench
from mam.models.heads import fit_probe
from mam.scoring.error_rate import confusion
from mam.small_files import read_jsonl
from mam.tasks import events
from mam.tasks.events import _over_folds


def audio_of(words: list[str]):
    config = jobs(words)[0].config
    return config, Workbench().audio(config)


def trials(words: list[str]) -> list[tuple[str, list[int], list[int]]]:
    config, audio = audio_of(words)
    return [(trial.name, trial.train, trial.test) for trial in events.trials(config, audio)]


def test_the_test_fold_is_never_seen(event_words):
    """Three folds of six clips in a row; dev for fold f tests the next fold and fits on what is left."""
    blocks = [list(range(i, i + 6)) for i in (0, 6, 12)]
    assert trials(event_words) == [
        ("fold 1", blocks[1] + blocks[2], blocks[0]),
        ("fold 2", blocks[0] + blocks[2], blocks[1]),
        ("fold 3", blocks[0] + blocks[1], blocks[2]),
    ]
    assert trials([*event_words, "data.split=dev"]) == [
        ("fold 1, dev fold 2", blocks[2], blocks[1]),
        ("fold 2, dev fold 3", blocks[0], blocks[2]),
        ("fold 3, dev fold 1", blocks[1], blocks[0]),
    ]
    assert trials([*event_words, "data.fold=2"]) == [("fold 2", blocks[0] + blocks[2], blocks[1])]


def test_limit_takes_the_first_of_every_fold(event_words):
    _, audio = audio_of([*event_words, "data.limit=4"])
    assert audio.corpus.column("fold") == [1] * 4 + [2] * 4 + [3] * 4
    assert audio.corpus.column("id")[:4] == ["1-hum-0", "1-hum-1", "1-buzz-0", "1-buzz-1"]


def features(words: list[str], merged: bool):
    bench, config = Workbench(), jobs(words)[0].config
    pair = bench.pair(config)
    if merged:
        from mam.merging.plan import plan_merge

        pair.merger.apply(plan_merge(config, *pair.shapes, config.seed))
    return np.stack(bench.predict(config, 0, "test").items)


@pytest.mark.parametrize("head", ["probe_fixed", "probe_refit"])
def test_protocols_by_hand(event_words, head):
    """probe_fixed is fitted on unmerged features and tests merged ones; probe_refit is fitted on merged features."""
    words = [*event_words, "lam=0.3", f"head={head}"]
    outcome = once(words)
    old, new = features(words, merged=False), features(words, merged=True)
    assert np.abs(old - new).max() > 0.01
    labels = np.array([row["label"] for row in read_jsonl(outcome.folder / "predictions.jsonl")])
    rows = {side: read_jsonl(outcome.folder / f"{side}.jsonl") for side in ("predictions", "baseline")}
    for fold in range(3):
        test = np.arange(18) // 6 == fold
        strength = outcome.result.head.folds[fold].strength
        for side, fitted_on, tested in (
            ("predictions", old if head == "probe_fixed" else new, new),
            ("baseline", old, old),
        ):
            if side == "baseline":
                strength = fit_probe(old[~test], labels[~test].tolist(), (np.arange(18) // 6)[~test].tolist()).strength
            scaler = StandardScaler().fit(fitted_on[~test].astype(float))
            model = LogisticRegression(C=strength, max_iter=1000)
            model.fit(scaler.transform(fitted_on[~test].astype(float)), labels[~test])
            expected = model.predict(scaler.transform(tested[test].astype(float)))
            assert [row["prediction"] for row in rows[side][6 * fold : 6 * fold + 6]] == expected.tolist()
            assert {row["fold"] for row in rows[side][6 * fold : 6 * fold + 6]} == {fold + 1}
    assert outcome.result.head.name == head
    wrong = [row["prediction"] != row["label"] for row in rows["predictions"]]
    metrics = outcome.result.metrics
    assert metrics.errors == sum(wrong) and metrics.clips == 18
    assert metrics.fold_errors == pytest.approx([np.mean(wrong[i : i + 6]) for i in (0, 6, 12)])


def test_merging_nothing_is_the_baseline(event_words):
    for head in ("probe_fixed", "probe_refit"):
        outcome = once([*event_words, "lam=0", f"head={head}"])
        merged, baseline = (read_jsonl(outcome.folder / f"{side}.jsonl") for side in ("predictions", "baseline"))
        assert merged == baseline and outcome.result.delta.absolute == 0


def test_run_folder_has_confusion_and_classes(event_words):
    outcome = once([*event_words, "lam=0.5"])
    rows = read_jsonl(outcome.folder / "predictions.jsonl")
    assert len(rows[0]["scores_top5"]) == 3 and sum(rows[0]["scores_top5"].values()) == pytest.approx(1, abs=1e-5)
    assert next(iter(rows[0]["scores_top5"])) == rows[0]["prediction"] and rows[0]["cluster"] == "1-hum-0"
    table = list(csv.reader((outcome.folder / "confusion.csv").read_text().splitlines()))
    classes, counts = confusion([row["label"] for row in rows], [row["prediction"] for row in rows])
    assert table[0] == ["label", *classes]
    assert [[int(n) for n in line[1:]] for line in table[1:]] == counts.tolist()
    by_class = list(csv.DictReader((outcome.folder / "classes.csv").read_text().splitlines()))
    assert [line["label"] for line in by_class] == sorted(CLASSES)
    assert sum(int(line["errors"]) for line in by_class) == outcome.result.metrics.errors
    assert sum(int(line["errors_baseline"]) for line in by_class) == outcome.result.baseline.errors


def test_recordings_are_the_units_and_mcnemar_stands_beside(event_words):
    delta = once([*event_words, "lam=0.5"]).result.delta
    assert delta.clusters == 9 and delta.unit == "recording"
    changed = delta.mcnemar.only_merged_wrong - delta.mcnemar.only_baseline_wrong
    assert delta.absolute == pytest.approx(changed / 18)
    assert (
        "exact; assumes that clips are independent, although clips from the same cluster are not" in delta.mcnemar.note
    )


def test_what_does_not_depend_on_lambda_runs_once(event_words, monkeypatch):
    """One pass through the front for all folds and all λ; the cached baseline gives the same bytes."""
    bench = Workbench()
    first = once([*event_words, "lam=0.1"], bench)
    config = jobs([*event_words, "lam=0.1"])[0].config
    packs = bench.prefix(config).computed
    again = once([*event_words, "lam=0.3", "data.fold=2"], bench)
    assert bench.prefix(config).computed == packs
    fresh = once([*event_words, "lam=0.3", "force=true", "data.fold=2"])
    for name in ("predictions.jsonl", "baseline.jsonl"):
        assert (again.folder / name).read_bytes() == (fresh.folder / name).read_bytes()
    assert (first.folder / "baseline.jsonl").read_bytes() != b""


def test_cached_features_are_bit_for_bit(event_words):
    config = jobs(event_words)[0].config
    computed = Workbench().baseline(config, 0).items
    read = Workbench().baseline(config, 0)
    assert read.prefix == 0.0
    np.testing.assert_array_equal(np.stack(computed), np.stack(read.items))


def test_splits_instead_of_folds(event_words, tmp_path):
    root = write_sounds(tmp_path / "split")
    table = list(csv.DictReader((root / "metadata.csv").read_text().splitlines()))
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "label", "split", "origin"])
        for row in table:
            writer.writerow(
                [row["file_name"], row["label"], ["train", "dev", "test"][int(row["fold"]) - 1], row["origin"]]
            )
    words = [*event_words, f"data.root={root}"]
    assert trials(words) == [("test", list(range(6)), list(range(12, 18)))]
    assert trials([*words, "data.split=dev"]) == [("dev", list(range(6)), list(range(6, 12)))]
    metrics = once(words).result.metrics
    assert metrics.clips == 6 and len(metrics.fold_errors) == 1 and metrics.fold_sd is None
    with pytest.raises(DataError, match=r"data.fold=1: data=audiofolder has no folds"):
        trials([*words, "data.fold=1"])


def test_collapse_is_said():
    config = jobs(["model=demo_beats_vit", "data=demo_sounds", "data.clusters=utterance"])[0].config
    rows = [{"label": CLASSES[i % 3], "fold": i % 2, "prediction": "hum"} for i in range(60)]
    right = [row | {"prediction": row["label"]} for row in rows]
    scored = events.score(config, [rows], right)
    assert scored.findings == ["collapsed: 60 of 60 clips are classified as 'hum'"]
    assert scored.metrics.error == pytest.approx(2 / 3) and scored.baseline.error == 0
    assert events.score(config, [right], rows).findings == []


def test_clips_of_unequal_length_give_what_they_give_alone(event_words):
    together = features(event_words, merged=False)
    alone = features([*event_words, "evaluate.batch_seconds=1"], merged=False)
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_result_fits_its_schema_and_says_what_was_moved(event_words):
    outcome = once([*event_words, "lam=0.1"])
    result = json.loads((outcome.folder / "result.json").read_text())
    assert result["task"] == "events" and result["data"]["normalizer"] is None
    assert any(
        "merging Q also changes BEATs' gated position bias, which is computed from Q; parts=kv avoids this" in note
        for note in result["merge"]["notes"]
    )
    assert not any("gate" in note for note in once([*event_words, "parts=kv"]).result.merge.notes)
    assert not any("gate" in note for note in once([*event_words, "lam=0"]).result.merge.notes)


def test_over_folds_the_difference_is_students_of_fold_errors(event_words):
    """By hand from the fold errors; three folds are too few for an interval, and refitted probes are said."""
    result = once([*event_words, "lam=0.9", "head=probe_refit"]).result
    new, old = (side.fold_errors for side in (result.metrics, result.baseline))
    over = result.delta.over_folds
    assert over.folds == len(new) == 3 and over.mean == pytest.approx(np.mean(new) - np.mean(old))
    assert over.ci95 is None and any(
        "the interval treats the probes as fixed; only the comparison over folds includes their variation" in note
        for note in result.diagnostics
    )
    made = _over_folds((0.1, 0.2, 0.3, 0.2, 0.1), (0.2, 0.2, 0.2, 0.1, 0.3))
    expected = stats.ttest_rel((0.1, 0.2, 0.3, 0.2, 0.1), (0.2, 0.2, 0.2, 0.1, 0.3))
    assert made.p_value == pytest.approx(expected.pvalue)
    assert made.ci95 == pytest.approx(list(expected.confidence_interval()))
    assert _over_folds((0.1,), (0.2,)) is None
