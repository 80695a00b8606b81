"""Rates by group: numbers by hand, what a run records, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.audio import write_folder
from support.runs import data_words, jobs, once, pair_words, predictions

from mam.config.command import command_of
from mam.config.studies import study_jobs
from mam.errors import ConfigError, DataError, RecordError
from mam.evaluation.workbench import Workbench
from mam.records.parts import GroupRecord, GroupsRecord
from mam.records.reading import read_result
from mam.report.collect import collect
from mam.report.groups import group_cells, groups_notes, groups_table
from mam.report.page import write_report
from mam.runs.record import group_rows
from mam.runs.rescore import rescore
from mam.scoring.significance import paired_difference
from mam.tasks.groups import by_groups
from mam.tasks.task import ErrorCounts

MANY = [0.6, 1.3, 0.9, 1.3, 0.4, 0.8, 1.1, 0.7]


@pytest.fixture
def spoken_words(hubert_group, bert, tmp_path):
    """Eight clips of three speakers, one of which no one is named for."""
    root = write_folder(
        tmp_path / "by", MANY, speaker=["ann", "ann", "bob", "bob", "", "ann", "bob", "ann"], split=["test"] * 8
    )
    return [*pair_words(hubert_group, bert), *data_words(root), "evaluate.draws=200", "lam=0.6"]


def counts(errors: list[int], lengths: list[int], clusters: list[str] | None = None) -> ErrorCounts:
    return ErrorCounts(np.array(errors), np.array(lengths), clusters, "utterance" if clusters is None else "speaker")


def test_groups_by_hand():
    """Of 8 of a, 6 are better: p 2/2^6. All 5 of b are worse: p 2/2^5. 6 of none are as they were. c has no word."""
    values = ["b"] * 5 + [None] * 6 + ["a"] * 8 + ["c"] * 2
    old = [0] * 5 + [2] * 6 + [1] * 8 + [0] * 2
    new = [1] * 5 + [2] * 6 + [0] * 6 + [1] * 2 + [3] * 2
    lengths = [10] * 19 + [0] * 2
    config = jobs(["evaluate.by=[speaker]"])[0].config
    (table,) = by_groups(config, [{"speaker": v} for v in values], [counts(new, lengths)], counts(old, lengths))
    assert table.by == "speaker"
    assert [(group.value, group.n) for group in table.groups] == [("a", 8), (None, 6), ("b", 5), ("c", 2)]
    a, none, b, c = table.groups
    assert (a.rate, a.baseline, a.delta.absolute) == (pytest.approx(0.025), pytest.approx(0.1), pytest.approx(-0.075))
    assert a.delta.p_value == 2 / 2**6 and a.p_holm == 3 * 2 / 2**6 and a.delta.ci95[1] < 0
    assert (b.rate, b.baseline, b.delta.p_value, b.p_holm) == (0.1, 0, 2 / 2**5, 2 * 2 / 2**5)
    assert b.delta.ci95 is None and b.delta.relative_ci95 is None and (b.delta.clusters, b.delta.worse) == (5, 5)
    assert (none.rate, none.baseline, none.p_holm, none.delta.changed) == (0.2, 0.2, 1, 0)
    assert (c.rate, c.baseline, c.delta, c.p_holm) == (None, None, None, None)
    same = paired_difference(np.array(new[11:19]), np.array(old[11:19]), np.array(lengths[11:19]), None, 10_000, 0)
    assert a.delta == same


def test_units_and_draws_are_those_of_the_run():
    """Two draws of the merged side: 3 and 1 errors in 4 words are a rate of 1/2; two speakers are two units."""
    config = jobs(["evaluate.by=[fold]"])[0].config
    draws = [counts([1, 2, 9], [2, 2, 2], ["x", "y", "x"]), counts([1, 0, 9], [2, 2, 2], ["x", "y", "x"])]
    rows = [{"fold": 1}, {"fold": 1}, {"fold": 2}]
    (table,) = by_groups(config, rows, draws, counts([0, 0, 0], [2, 2, 2], ["x", "y", "x"]))
    first, second = table.groups
    assert (first.value, first.rate, first.baseline, first.delta.clusters) == (1, 0.5, 0, 2)
    assert (second.value, second.rate, second.delta.clusters, second.delta.ci95) == (2, 4.5, 1, None)
    assert first.delta.unit == "speaker"


def test_a_run_records_its_groups(spoken_words):
    outcome = once([*spoken_words, "evaluate.by=[speaker,split]"])
    result = read_result(outcome.folder)
    assert result == outcome.result and result.grouped_by == {"speaker", "split"}
    speakers, _ = result.groups
    assert [(group.value, group.n) for group in speakers.groups] == [("ann", 4), ("bob", 3), (None, 1)]
    assert all(group.delta.ci95 is None for group in speakers.groups), "fewer than six units"
    rows = [json.loads(line) for line in (outcome.folder / "predictions.jsonl").read_text().splitlines()]
    assert [row["speaker"] for row in rows] == ["ann", "ann", "bob", "bob", None, "ann", "bob", "ann"]
    words = {"ann": 0, "bob": 0, None: 0}
    for row in rows:
        words[row["speaker"]] += len(row["reference"].split())
    total = sum(group.rate * words[group.value] for group in speakers.groups)
    assert total == pytest.approx(result.metrics.wer * result.metrics.words)
    table = list(csv.DictReader((outcome.folder / "groups.csv").read_text().splitlines()))
    assert [(row["by"], row["value"], row["examples"]) for row in table[:3]] == [
        ("speaker", "ann", "4"),
        ("speaker", "bob", "3"),
        ("speaker", "", "1"),
    ]
    assert float(table[0]["rate"]) == speakers.groups[0].rate and table[0]["low"] == ""


def test_a_column_of_the_users_own(spoken_words):
    """Its values group the results; where they change, a finished run no longer answers."""
    root = Path(next(word for word in spoken_words if word.startswith("data.root=")).partition("=")[2])
    path = root / "metadata.csv"
    heading, *lines = path.read_text().splitlines()
    genders = ["f", "f", "m", "m", "", "f", "m", "f"]
    text = [f"{heading},gender,reference", *(f"{line},{gender},x" for line, gender in zip(lines, genders, strict=True))]
    path.write_text("\n".join(text) + "\n")
    plain = once(spoken_words)
    made = once([*spoken_words, "evaluate.by=[gender]"])
    (record,) = made.result.groups
    assert [(group.value, group.n) for group in record.groups] == [("f", 4), ("m", 3), (None, 1)]
    assert predictions(made) == predictions(plain)
    assert once([*spoken_words, "evaluate.by=[gender]"]).status == "skipped" and once(spoken_words).status == "skipped"
    with pytest.raises(DataError, match="evaluate.by=reference: is not a column .* Choose from: gender, s"):
        once([*spoken_words, "evaluate.by=[reference]"])  # a name of the predictions' own
    path.write_text("\n".join(text).replace(",m,", ",male,") + "\n")
    again = once([*spoken_words, "evaluate.by=[gender]"])
    assert again.status == "finished" and again.result.groups[0].groups[1].value == "male"
    assert once(spoken_words).folder == plain.folder


def test_a_run_without_the_table_does_not_answer_for_it(spoken_words):
    plain = once(spoken_words)
    assert plain.result.groups is None and "groups" not in json.loads((plain.folder / "result.json").read_text())
    assert not (plain.folder / "groups.csv").exists()
    grouped = once([*spoken_words, "evaluate.by=[speaker]"])
    assert grouped.status == "finished" and grouped.result.hash == plain.result.hash
    assert predictions(grouped) == predictions(plain) and grouped.result.delta == plain.result.delta
    assert once([*spoken_words, "evaluate.by=[speaker]"]).status == "skipped"
    assert once([*spoken_words, "evaluate.by=[speaker,split]"]).status == "finished"
    assert once(spoken_words).status == "skipped"


def test_scoring_again_makes_the_groups_again(spoken_words):
    outcome = once([*spoken_words, "evaluate.by=[speaker]"])
    again, _ = rescore(outcome.folder, None, None)
    assert again.groups == outcome.result.groups
    path = outcome.folder / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for broken in ({"speaker": ["x"]}, {"speaker": True}, None):
        changed = [{k: v for k, v in row.items() if k != "speaker"} | (broken or {}) for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in changed))
        with pytest.raises(RecordError, match=r"predictions.jsonl, line 1: has no speaker, which evaluate.by"):
            rescore(outcome.folder, None, "4")


def test_sounds_by_class_and_fold(event_words):
    outcome = once([*event_words, "evaluate.by=[label,fold]", "evaluate.draws=200"])
    by_label, by_fold = outcome.result.groups
    assert [(group.value, group.n) for group in by_fold.groups] == [(1, 6), (2, 6), (3, 6)]
    errors = {row["label"]: row for row in csv.DictReader((outcome.folder / "classes.csv").read_text().splitlines())}
    for group in by_label.groups:
        assert group.rate == pytest.approx(float(errors[group.value]["error"]), abs=1e-6)
        assert group.baseline == pytest.approx(float(errors[group.value]["error_baseline"]), abs=1e-6)
    assert by_label.groups[0].delta.unit == "recording"


def test_a_baseline_from_another_run_needs_no_columns(lesson):
    ft = once([*lesson, "train=finetune", "lam=0"])
    learnt = once([*lesson, "train=lmam", "lam=0.3", "evaluate.by=[split]"])
    assert learnt.result.baseline.kind == "ft" and "split" not in (ft.folder / "predictions.jsonl").read_text()
    (group,) = learnt.result.groups[0].groups
    assert (group.value, group.n, group.rate) == ("test", 2, learnt.result.metrics.wer)
    assert rescore(learnt.folder, None, None)[0].groups == learnt.result.groups


@pytest.mark.parametrize(
    "column, problem",
    [
        ("gender", "evaluate.by=gender: is not a column of data=audiofolder. Choose from: speaker, split."),
        ("fold", "evaluate.by=fold: has no values in data=audiofolder. Choose from: speaker, split."),
        ("id", "evaluate.by=id: is not a column of"),
    ],
)
def test_a_column_without_values_is_an_error_before_a_model_is_loaded(spoken_words, column, problem, monkeypatch):
    monkeypatch.setattr(Workbench, "pair", lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.setattr(Workbench, "audio", lambda *_: pytest.fail("audio was decoded"))
    with pytest.raises(DataError) as caught:
        once([*spoken_words, f"evaluate.by=[speaker,{column}]"])
    assert str(caught.value).startswith(problem) and not Path("outputs").exists()


def test_a_column_is_named_once():
    with pytest.raises(
        ConfigError, match="evaluate.by=speaker,speaker: a column is named more than once. Name each once"
    ):
        jobs(["evaluate.by=[speaker,speaker]"])


def test_members_of_a_study_keep_the_columns():
    (study,) = jobs(["experiment=lambda_grid", "evaluate.by=[speaker,split]"])
    for job in study_jobs(study):
        assert "'evaluate.by=[speaker,split]'" in command_of(job)


def test_a_terminal_shows_ten_groups_in_eighty_columns():
    outcome_delta = paired_difference(np.array([0] * 6 + [2]), np.array([1] * 6 + [2]), np.array([5] * 7))
    few = replace(outcome_delta, clusters=3, ci95=None, changed=2)
    groups = [GroupRecord(f"[b]{i} 's", 20 - i, 0.2, 0.3, outcome_delta, 0.5) for i in range(11)]
    table = GroupsRecord(
        "speaker", [*groups, GroupRecord("l", 4, 0.2, 0.3, few, 1.0), GroupRecord(None, 1, None, None, None)]
    )
    console = Console(file=io.StringIO(), width=200)
    console.print(groups_table(table))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 11 and max(len(line.rstrip()) for line in lines) <= 80
    assert lines[1].startswith("[b]0 's") and lines[10].startswith("[b]9 's")
    assert groups_notes(table) == [
        "3 more groups with 15 examples",
        "no interval for 1 group with fewer than 6 utterances",
        "few: fewer than 6 units changed, so no difference can be significant",
        "no rate for 1 group whose references have no words",
        "p Holm: p adjusted for all 12 groups (Holm)",
    ]
    assert group_cells(table.groups[-1]) == ["(none)", "1", *"–––––––"]
    assert group_cells(table.groups[0])[:4] == ["[b]0 's", "20", "30.00 %", "20.00 %"]
    rows = group_rows([table])
    assert {len(row) for row in rows} == {15} and rows[-1][:4] == ["speaker", None, 1, None]


def test_the_page_has_every_group(spoken_words, tmp_path):
    once([*spoken_words, "evaluate.by=[speaker]"])
    page = write_report(collect([Path("outputs")]), tmp_path / "report").read_text(encoding="utf-8")
    assert "<summary>By speaker, λ 0.6</summary>" in page
    assert '<td>ann</td><td class="right">4</td>' in page and '<td>(none)</td><td class="right">1</td>' in page
    assert "no interval for 3 groups with fewer than 6 utterances" in page
