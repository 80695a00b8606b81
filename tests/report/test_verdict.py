"""The page's first sentences, by differences made up for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mam.report.collect import Group, collect
from mam.report.group_table import group_table
from mam.report.verdict import verdict
from mam.studies.evidence import compared


@pytest.fixture
def group(swept):
    (found,) = collect([swept]).groups
    return found


def changed(group: Group, place: int, **fields: object) -> Group:
    """The group with other fields in the difference of a run."""
    run = group.runs[place]
    result = replace(run.result, delta=replace(run.result.delta, **fields))
    runs = list(group.runs)
    runs[place] = replace(run, result=result)
    return Group(group.title, runs)


def test_many_merges_are_counted_after_holm(group):
    none, content = verdict(group, compared(group.merged()))
    assert none.startswith("None of 4 merges (controls included) was shown to change the error rate; no unit changed")
    assert content.startswith("Too few controls to tell whether the source's content matters: that takes shrink,")
    found = changed(group, 1, absolute=-0.1, p_value=0.001)
    assert verdict(found, []) == [
        "Shown to differ from the baseline (p < .05 after Holm), of 4 merges (controls included): 1 better, 0 worse."
    ]
    (almost,) = verdict(changed(group, 1, absolute=-0.1, p_value=0.02), [])
    assert almost.startswith("None of 4"), "p times 4 is not below .05"


@pytest.mark.parametrize(
    ("absolute", "p_value", "end"),
    [
        (-0.1, 0.01, "This is better than without merging."),
        (0.1, 0.01, "This is worse than without merging."),
        (-0.1, 0.2, "No effect was shown."),
    ],
)
def test_a_single_merge_is_judged_alone(group, absolute, p_value, end):
    alone = changed(
        Group(group.title, group.runs[:2]), 1, absolute=absolute, p_value=p_value, ci95=(-0.3, 0.3), changed=5
    )
    (sentence,) = verdict(alone, [])
    sign = "−" if absolute < 0 else "+"
    assert sentence.startswith("λ=0.3: WER ") and f"Δ {sign}10.00 points, 95 % [−30.00, +30.00]" in sentence
    assert sentence.endswith(end)


def test_the_baseline_stands_first_even_without_a_run_of_it(group):
    table = group_table(Group(group.title, group.runs[1:]))
    assert table.cells[0][:3] == ["0", "", "baseline"] and not table.rows[0].runs
    with_run = group_table(group)
    assert with_run.cells[0][:3] == ["0", "none", "baseline"] and with_run.rows[0].runs == [group.runs[0]]
    assert len(table.rows) == len(with_run.rows) == 5
    assert table.are_right[:4] == [True, False, True, True]
    assert "normalizer none" in table.caption and "control" not in table.caption and "source bert" in table.caption


def test_runs_of_the_same_merge_share_a_row_with_a_link_to_each(group):
    twin = replace(group.runs[1], folder=Path("elsewhere"))
    table = group_table(replace(group, alike={group.runs[1].folder: [twin]}))
    assert [run.folder for run in table.rows[1].runs] == [group.runs[1].folder, Path("elsewhere")]


def test_empty_columns_are_left_out(group):
    headings = group_table(group).headings
    assert "dev" not in headings and headings[-3:] == ["p", "p Holm", "better/worse"]
