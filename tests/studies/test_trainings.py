"""Several seeds together: paired t by hand, who is compared with whom, when that means nothing, λ over seeds."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import pair_words, write_folder
from scipy import stats

from mam.compose import jobs
from mam.errors import ConfigError
from mam.evaluation.workbench import Workbench
from mam.plans import study_jobs
from mam.report.study import record_study
from mam.report.trainings import show_stability, show_versus, verdict
from mam.scoring.significance import paired_t
from mam.studies.execute import execute, study_folder
from mam.studies.trainings import against_ft, idle_ft, stability
from mam.studies.transfer import GRID, second_stage, without_rejected
from mam.terminal import Terminal

QUICK = ["train.steps=2", "train.evaluate_every=1", "train.log_every=1", "train.save_model=false", "evaluate.draws=200"]


@pytest.fixture
def lesson(hubert_group, bert, tmp_path):
    folder = write_folder(
        tmp_path / "data", [0.6, 1.3, 0.9, 1.3, 0.8, 1.0], split=["train"] * 2 + ["dev"] * 2 + ["test"] * 2
    )
    return [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={folder}", *QUICK]


def test_paired_t_is_scipys():
    values = [0.01, -0.02, -0.03, 0.004, -0.01, -0.02]
    mean, ci95, p_value = paired_t(values)
    expected = stats.ttest_1samp(values, 0)
    assert (mean, p_value) == pytest.approx((np.mean(values), expected.pvalue))
    assert ci95 == pytest.approx(tuple(expected.confidence_interval()))
    assert paired_t(values[:4])[1:] == (None, None) and paired_t([0.1] * 5) == (pytest.approx(0.1), None, None)


def test_every_arm_runs_with_every_seed_ft_first(lesson, capsys):
    study = jobs([*lesson, "experiment=lmam_vs_ft", "study.axes.seed=[3,4]", *lesson[7:9], "train.steps=2"])[0]
    plan = study_jobs(study)
    assert [job.config.study.arm for job in plan] == ["FT", "MAM-FT", "L-MAM", "L-MAM-random", "L-MAM-shrink"] * 2
    assert plan[0].varied(plan) == {"arm": "FT", "seed": "3"} and plan[0].config.lam == 0
    assert plan[3].config.control == "random_iid" and plan[2].config.lam == 0.05
    folder = study_folder(plan, "lmam_vs_ft")
    ended = execute(plan, Workbench(), folder)
    assert all(end.error is None for end in ended)
    found = against_ft(ended)
    assert [(one.arm, one.other) for one in found] == [
        ("MAM-FT", "FT"),
        ("L-MAM", "FT"),
        ("L-MAM", "L-MAM-random"),
        ("L-MAM", "L-MAM-shrink"),
        ("L-MAM-random", "FT"),
        ("L-MAM-shrink", "FT"),
    ]
    results = {(end.job.config.study.arm, str(end.job.config.seed)): end.outcome.result for end in ended}
    for one in found:
        assert [seed for seed, _ in one.seeds] == ["3", "4"] and one.ci95 is None
        rates = [results[one.arm, seed]["metrics"]["wer"] - results[one.other, seed]["metrics"]["wer"] for seed in "34"]
        assert [difference.absolute for _, difference in one.seeds] == pytest.approx(rates)
        if one.other == "FT":
            delta = results[one.arm, "3"]["delta"]
            assert one.seeds[0][1].absolute == pytest.approx(delta["absolute"])
            assert list(one.seeds[0][1].ci95) == pytest.approx(delta["ci95"])
    # Two steps of a random model teach nothing: said.
    idle = idle_ft(ended)
    assert idle == ["seed=3", "seed=4"]
    show_versus(Terminal(), found, idle)
    shown = capsys.readouterr().out
    assert "too few seeds" in shown and "at seed=3; seed=4: the comparison means nothing" in shown
    assert max(map(len, shown.splitlines()[:7])) <= 80
    record_study(folder, "lmam_vs_ft", ended, [], found)
    assert len(json.loads((folder / "study.json").read_text())["versus"]) == 6


def test_a_verdict_needs_five_seeds_and_an_interval_beside_zero():
    def versus(mean, ci95):
        return SimpleNamespace(arm="L-MAM", other="FT", mean=mean, ci95=ci95, is_enough=ci95 is not None)

    assert "too few seeds" in verdict([versus(-0.1, None)])
    assert verdict([versus(-0.1, (-0.2, 0.1))]).startswith("no method differs")
    assert verdict([versus(-0.1, (-0.2, -0.05))]) == "L-MAM is better than FT beyond its interval"
    assert verdict([versus(0.1, (0.05, 0.2))]) == "L-MAM is worse than FT beyond its interval"


def test_stability_by_hand(capsys, tmp_path):
    lams = [[0.1, 0.2, 0.0], [0.3, 0.4, 0.2], [0.2, 0.1, 0.3]]
    found = stability([{"merge": {"layers": [0, 1, 2], "lam": row}} for row in lams])
    assert found.row(0) == pytest.approx({"mean": 0.2, "sd": 0.1, "cv": 0.5, "least": 0.1, "most": 0.3})
    # Ranks 2 3 1, 2 3 1 and 2 1 3: ρ = 1, -1, -1.
    assert found.rank_correlation == pytest.approx(-1 / 3)
    show_stability(Terminal(), found)
    assert "mean Spearman ρ): -0.33" in capsys.readouterr().out
    assert stability([{"merge": {"layers": [0], "lam": [0.1]}}] * 2).rank_correlation is None


def test_learnt_lambdas_are_carried_over_frozen():
    study = jobs(["experiment=lambda_transfer"])[0]
    plan = study_jobs(study)
    assert [(job.config.data.name, job.config.study.arm) for job in plan] == [
        (data, arm) for data in ("demo_speech_shift", "demo_speech") for arm in ("FT", "L-MAM-shrink", "L-MAM")
    ]

    def ended(job, lams=(0.0,) * 4, after=0.5):
        result = {"merge": {"lam": list(lams)}, "train": {"dev": {"after": after}}}
        return SimpleNamespace(job=job, outcome=SimpleNamespace(result=result))

    first = [ended(plan[0]), ended(plan[2], (0.1, 0.2, 0.3, 0.4)), ended(plan[5], (0.4, 0.3, 0.2, 0.1))]
    first += [ended(plan[1], (0.9,) * 4), ended(plan[4], (0.9,) * 4)]  # from shrink: not carried
    more = second_stage(study, first)
    arms = [f"fixed-{lam:g}" for lam in GRID]
    assert [job.config.study.arm for job in more] == [*arms, "own", "carried", *arms, "carried", "own"]
    carried = more[5].config
    assert carried.data.name == "demo_speech_shift" and carried.train.name == "finetune" and carried.lam == 1
    assert carried.schedule.values == [0.4, 0.3, 0.2, 0.1]
    rates = iter([0.4, 0.3, 0.3, 0.6, 0.5, 0.5] * 2)
    kept = without_rejected([ended(job, after=next(rates)) for job in more])
    assert [end.job.config.study.arm for end in kept[:3]] == ["fixed-0.05", "own", "carried"]
    with pytest.raises(ConfigError, match="λ was learnt on 1 data sets; to carry over it needs two"):
        second_stage(study, first[:2])
