"""Several seeds together: paired t by hand, who is compared with whom, when that means nothing, λ over seeds."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from support.audio import write_folder
from support.runs import jobs, pair_words, plan_of
from support.studies import say

from mam.config.studies import study_jobs
from mam.errors import ConfigError
from mam.evaluation.workbench import Workbench
from mam.report.study import record_study
from mam.report.trainings import show_arms, show_stability, verdict
from mam.studies.analysis import analyse
from mam.studies.execute import execute, study_folder
from mam.studies.trainings import ArmComparison, _adjusted, compared_arms, idle_reference, stability
from mam.studies.transfer import GRID, second_stage, without_rejected
from mam.terminal import Terminal

QUICK = ["train.steps=2", "train.evaluate_every=1", "train.log_every=1", "train.save_model=false", "evaluate.draws=200"]


@pytest.fixture
def lesson(hubert_group, bert, tmp_path):
    folder = write_folder(
        tmp_path / "data", [0.6, 1.3, 0.9, 1.3, *[0.6] * 6], split=["train"] * 2 + ["dev"] * 2 + ["test"] * 6
    )
    return [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={folder}", *QUICK]


def test_every_arm_runs_with_every_seed_ft_first(lesson, capsys):
    """Errors in six utterances of four words: FT makes one each with either seed, MAM-FT none, L-MAM none with one."""
    study = jobs([*lesson, "experiment=lmam_vs_ft", "study.axes.seed=[3,4]", *lesson[7:9], "train.steps=2"])[0]
    plan = study_jobs(study)
    assert [job.config.study.arm for job in plan] == [
        *["FT", "MAM-FT", "L-MAM", "L-MAM-frozen", "L-MAM-random", "L-MAM-shrink"] * 2
    ]
    assert plan[0].varied(plan) == {"arm": "FT", "seed": "3"} and plan[0].config.lam == 0
    assert plan[4].config.control == "random_iid" and plan[2].config.lam == 0.05
    folder = study_folder(plan, "lmam_vs_ft")
    ended = execute(plan, Workbench(), folder)
    assert all(end.error is None for end in ended)
    errors = {("MAM-FT", 3): 0, ("MAM-FT", 4): 0, ("L-MAM", 3): 0}
    for end in ended:
        say(end.outcome.folder, [errors.get((end.job.config.study.arm, end.job.config.seed), 1)] * 6)
    found = compared_arms(ended)
    assert [(one.arm, one.other) for one in found] == [
        ("MAM-FT", "FT"),
        ("L-MAM", "FT"),
        ("L-MAM", "L-MAM-frozen"),
        ("L-MAM", "L-MAM-random"),
        ("L-MAM", "L-MAM-shrink"),
        ("L-MAM-frozen", "FT"),
        ("L-MAM-random", "FT"),
        ("L-MAM-shrink", "FT"),
    ]
    results = {(end.job.config.study.arm, str(end.job.config.seed)): end.outcome.result for end in ended}
    assert all([seed for seed, _ in one.seeds] == ["3", "4"] and one.ci95 is None for one in found)
    absolute = {(one.arm, one.other): [difference.absolute for _, difference in one.seeds] for one in found}
    better = {("MAM-FT", "FT"): [-0.25, -0.25], **{pair: [-0.25, 0.0] for pair in absolute if pair[0] == "L-MAM"}}
    assert absolute == {pair: [0.0, 0.0] for pair in absolute} | better
    assert [one.mean for one in found[:2]] == [-0.25, -0.125]
    assert [difference.p_value for _, difference in found[1].seeds] == [0.03125, 1.0]  # 2 of 2^6 assignments of signs
    frozen = results["L-MAM-frozen", "3"]
    assert frozen.merge.lam == pytest.approx(frozen.train.lam_at_start, abs=1e-7)
    # Two steps of a random model teach nothing: said.
    idle = idle_reference(ended)
    assert idle == ["seed=3", "seed=4"]
    show_arms(Terminal(), found, idle, "FT")
    shown = capsys.readouterr().out
    assert "too few seeds" in shown and "at seed=3; seed=4: no comparison with it is informative there" in shown
    assert max(map(len, shown.splitlines()[:7])) <= 80
    analysis = analyse(study.config.study, "lmam_vs_ft", ended)
    assert analysis.arms == found and analysis.idle == idle and analysis.reference == "FT"
    record_study(folder, analysis)
    assert len(json.loads((folder / "study.json").read_text())["versus"]) == 8


def versus(mean, p_holm, ci95=(-0.2, 0.1), arm="L-MAM"):
    return ArmComparison(arm, "FT", {}, [(str(seed), None) for seed in range(5)], mean, ci95, p_holm / 2, p_holm)


def test_a_verdict_needs_five_seeds_and_holms_p():
    few = ArmComparison("L-MAM", "FT", {}, [("0", None)], -0.1, None, None)
    assert "too few seeds" in verdict([few])
    assert verdict([versus(-0.1, 0.06)]) == (
        "no difference from FT was found over seeds, for these clips; the 95 % intervals span −20.00 to +10.00 points"
    )
    assert (
        verdict([versus(-0.1, 0.04)]) == "L-MAM is better than FT (p 0.040, Holm-adjusted): over seeds, for these clips"
    )
    assert verdict([versus(0.1, 0.04), few]).startswith("L-MAM is worse than FT")


def test_an_interval_beside_zero_is_not_enough_among_six():
    """One of six comparisons with p .02, all against the same FT: by Holm .12, and nothing follows."""
    adjusted = _adjusted([versus(-0.1, 0.04, (-0.2, -0.01)), *(versus(0.0, 1.0) for _ in range(5))])
    assert adjusted[0].p_holm == pytest.approx(6 * 0.02)
    assert verdict(adjusted).startswith("no difference from FT")


def learnt(layers, lam, after=0.5):
    """A result as far as λ and the rate on dev go."""
    merge, dev = SimpleNamespace(layers=layers, lam=list(lam)), SimpleNamespace(after=after)
    return SimpleNamespace(merge=merge, train=SimpleNamespace(dev=dev))


def test_stability_by_hand(capsys, tmp_path):
    lams = [[0.1, 0.2, 0.0], [0.3, 0.4, 0.2], [0.2, 0.1, 0.3]]
    found = stability([learnt([0, 1, 2], row) for row in lams])
    assert found.row(0) == pytest.approx({"mean": 0.2, "sd": 0.1, "cv": 0.5, "least": 0.1, "most": 0.3})
    # Ranks 2 3 1, 2 3 1 and 2 1 3: ρ = 1, -1, -1.
    assert found.rank_correlation == pytest.approx(-1 / 3)
    show_stability(Terminal(), found)
    assert "mean Spearman ρ): −0.33" in capsys.readouterr().out
    assert stability([learnt([0], [0.1])] * 2).rank_correlation is None


def test_learnt_lambdas_are_carried_over_frozen():
    study = jobs(["experiment=lambda_transfer"])[0]
    plan = study_jobs(study)
    assert [(job.config.data.name, job.config.study.arm) for job in plan] == [
        (data, arm) for data in ("demo_speech_shift", "demo_speech") for arm in ("FT", "L-MAM-shrink", "L-MAM")
    ]

    def ended(job, lams=(0.0,) * 4, after=0.5):
        return SimpleNamespace(job=job, outcome=SimpleNamespace(result=learnt([0, 1, 2, 3], lams, after)))

    first = [ended(plan[0]), ended(plan[2], (0.1, 0.2, 0.3, 0.4)), ended(plan[5], (0.4, 0.3, 0.2, 0.1))]
    first += [ended(plan[1], (0.9,) * 4), ended(plan[4], (0.9,) * 4)]  # from shrink: not carried
    more = second_stage(study, first)
    arms = [f"fixed-{lam:g}" for lam in GRID]
    assert [job.config.study.arm for job in more] == [*arms, "own", "carried", *arms, "carried", "own"]
    carried = more[5].config
    assert carried.data.name == "demo_speech_shift" and carried.train.name == "finetune"
    assert carried.schedule.values == [0.4, 0.3, 0.2, 0.1] == list(plan_of(carried).lams)
    rates = iter([0.4, 0.3, 0.3, 0.6, 0.5, 0.5] * 2)
    kept = without_rejected([ended(job, after=next(rates)) for job in more])
    assert [end.job.config.study.arm for end in kept[:3]] == ["fixed-0.05", "own", "carried"]
    with pytest.raises(ConfigError, match="λ was learnt on 1 data set, but carrying it over needs two"):
        second_stage(study, first[:2])
