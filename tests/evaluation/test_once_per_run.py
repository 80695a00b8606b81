"""What a run works out once: its plan, its merge, its question."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from support.models import LAYERS
from support.runs import once

from mam.merging.merger import Merger
from mam.merging.plan import plan_merge
from mam.runs.question import question_of


@pytest.fixture
def calls(monkeypatch) -> dict[str, list[tuple]]:
    """The calls of `plan_merge`, `question_of` and `Merger.apply`, wherever in mam they come from."""
    made: dict[str, list[tuple]] = {}

    def watched(function: Callable) -> Callable:
        seen = made.setdefault(function.__name__, [])

        def call(*args, **kwargs):
            seen.append(args)
            return function(*args, **kwargs)

        return call

    for function in (plan_merge, question_of):
        replacement, name = watched(function), function.__name__
        for module in [one for key, one in sys.modules.items() if key.startswith("mam.")]:
            if getattr(module, name, None) is function:
                monkeypatch.setattr(module, name, replacement)
    monkeypatch.setattr(Merger, "apply", watched(Merger.apply))
    return made


def counts(calls: dict[str, list[tuple]]) -> dict[str, int]:
    return {name: len(some) for name, some in calls.items()}


def test_a_run_plans_and_merges_once(words, calls):
    result = once([*words, "lam=0.3"]).result
    assert counts(calls) == {"plan_merge": 1, "question_of": 1, "apply": 1}
    (_, plan) = calls["apply"][0]
    assert list(plan.lams) == result.merge.lam == [0.3] * LAYERS
    assert once([*words, "lam=0.3"]).status == "skipped"
    assert counts(calls) == {"plan_merge": 1, "question_of": 2, "apply": 1}  # a finished run is asked for alone


def test_a_random_control_is_merged_once_a_draw_from_one_plan(words, calls):
    once([*words, "lam=0.3", "control=random_iid"])
    applied = [plan for _, plan in calls["apply"]]
    assert [plan.draw for plan in applied] == [0, 1, 2, 3, 4] and len(calls["question_of"]) == 1
    assert len({plan.lams for plan in applied}) == 1
    assert len(calls["plan_merge"]) == 5  # each further draw may pair layers anew


def test_a_tuned_run_asks_once_and_merges_the_chosen_once_for_test(split_words, calls):
    result = once([*split_words, "tune=grid", "tune.values=[0.3,0.8]"]).result
    assert len(calls["question_of"]) == 1
    applied = [plan.lams[0] for _, plan in calls["apply"]]
    assert applied == [0.3, 0.8, result.tune.chosen[0].lam]  # on dev each once, λ=0 is the baseline; then on test


def test_a_training_asks_once_but_for_its_regular_fine_tuning(lesson, calls):
    once([*lesson, "lam=0.3", "train=finetune"])
    assert len(calls["question_of"]) == 1 and len(calls["plan_merge"]) == 1
