"""The paired difference: p and interval agree, and neither is surer than few changes or few units allow."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from support.scores import few

from mam.scoring.significance import exact_mcnemar, holm, paired_difference


def arrays(n=60, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 15, n)
    baseline = rng.integers(0, 5, n)
    return np.maximum(baseline + rng.integers(-1, 2, n), 0), baseline, lengths


def test_point_estimates_by_hand():
    made = paired_difference(np.array([1, 0, 2]), np.array([2, 0, 2]), np.array([5, 5, 10]))
    assert made.absolute == -1 / 20 and made.relative == -1 / 4 and made.clusters == 3
    assert (made.changed, made.better, made.worse, made.unit) == (1, 1, 0, "utterance")


def test_two_clusters_say_nothing():
    made = paired_difference(*(np.array([v] * 2) for v in (9, 10, 400)), clusters=[0, 1])
    # Both differ by the same: what scatters are the two pseudo-units, weighted by a half, of one error each.
    half = 12.7062 * math.sqrt(2 * 0.5 * 1 * 2 / 1) / 800
    assert made.p_value == 0.5 and made.ci95 == pytest.approx((-0.0025 - half, -0.0025 + half), rel=1e-4)
    # 1 and 3 errors in 400 words each: t on one degree of freedom, residuals ±1, pseudo-units of (1² + 3²)/2 = 5.
    wide = paired_difference(np.array([9, 7]), np.array([10, 10]), np.array([400, 400]), clusters=[0, 1])
    half = 12.7062 * math.sqrt((1 + 1 + 2 * 0.5 * 5) * 2 / 1) / 800
    assert wide.ci95 == pytest.approx((-0.005 - half, -0.005 + half), rel=1e-4)


@pytest.mark.parametrize(
    ("n", "better", "worse", "p"),
    [(16, 5, 0, 0.0625), (90, 4, 0, 0.125), (90, 6, 0, 0.03125), (16, 4, 0, 0.125), (90, 9, 5, 0.423950195)],
)
def test_p_is_exact_for_few_changes(n, better, worse, p):
    made = few(n, better, worse)
    assert made.p_value == pytest.approx(p)
    assert (made.better, made.worse) == (better, worse)
    expected = stats.binomtest(better, better + worse).pvalue  # changes by one error each: the sign test
    assert made.p_value == pytest.approx(expected)


@pytest.mark.parametrize("n", [6, 16, 90])
@pytest.mark.parametrize("changed", range(1, 6))
def test_below_six_changes_nothing_is_significant(n, changed):
    made = few(n, min(changed, n))
    assert not made.can_be_significant and made.p_value >= 0.0625
    assert made.ci95[0] <= 0 <= made.ci95[1]


def test_nothing_changed_has_no_interval():
    _, baseline, lengths = arrays()
    made = paired_difference(baseline, baseline, lengths)
    assert (made.absolute, made.ci95, made.relative_ci95, made.p_value, made.changed) == (0.0, None, None, 1.0, 0)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 40), st.floats(0.05, 0.9), st.floats(0.05, 0.95), st.booleans())
def test_the_interval_excludes_zero_exactly_where_p_is_below_five_percent(seed, n, share, better, is_clustered):
    rng = np.random.default_rng(seed)
    lengths, baseline = rng.integers(1, 30, n), rng.integers(2, 6, n)
    merged = baseline + (rng.random(n) < share) * np.where(rng.random(n) < better, -1, 1) * rng.integers(1, 3, n)
    clusters = rng.integers(0, 8, n).tolist() if is_clustered else None
    made = paired_difference(merged, baseline, lengths, clusters, draws=400, seed=seed)
    for ends in (made.ci95, made.relative_ci95):
        if ends is not None:
            excludes = (ends[0] is not None and ends[0] > 0) or (ends[1] is not None and ends[1] < 0)
            assert excludes == (made.p_value < 0.05)
            assert ends[0] is None or ends[0] <= (made.absolute if ends is made.ci95 else made.relative) + 1e-12


def test_interval_is_close_to_students_where_much_changed():
    """300 utterances of one length: the linearised rate is a mean, and both intervals are near its t interval."""
    rng = np.random.default_rng(2)
    baseline = rng.integers(3, 9, 300)
    merged = baseline + rng.integers(-3, 3, 300)
    made = paired_difference(merged, baseline, np.full(300, 10))
    expected = stats.ttest_1samp((merged - baseline) / 10, 0).confidence_interval()
    assert made.ci95 == pytest.approx(tuple(expected), abs=0.003)


def test_pseudo_units_by_hand():
    """Four of 90 lose an error: far from 0 the end is t's, with 2·(1 - 4/90)·1² added to the squared residuals."""
    made = few(90, 4)
    mean = -4 / 90
    squares = 4 - 90 * mean**2 + 2 * (1 - 4 / 90)
    half = stats.t.ppf(0.975, 89) * math.sqrt(squares / 89 / 90)
    assert made.ci95[0] == pytest.approx((mean - half) / 10)


def test_clusters_are_flipped_whole():
    """Copies of an utterance in one cluster carry no more evidence than the utterance alone."""
    merged, baseline, lengths = arrays(30)
    once = paired_difference(merged, baseline, lengths)
    copies = [np.repeat(column, 5) for column in (merged, baseline, lengths)]
    clustered = paired_difference(*copies, clusters=np.repeat(np.arange(30), 5).tolist(), unit="speaker")
    naive = paired_difference(*copies)
    assert clustered.ci95 == pytest.approx(once.ci95) and (clustered.clusters, clustered.unit) == (30, "speaker")
    assert clustered.p_value == once.p_value
    assert naive.ci95[1] - naive.ci95[0] < 0.6 * (once.ci95[1] - once.ci95[0])


def test_baseline_without_errors_has_no_relative_change():
    made = paired_difference(np.array([1, 0]), np.array([0, 0]), np.array([4, 4]))
    assert made.relative is None and made.relative_ci95 is None and made.absolute == 1 / 8


def test_the_relative_interval_is_a_ratio_to_the_baselines_errors():
    """With as many errors as words in every utterance the relative change is the absolute one."""
    merged, _, lengths = arrays(40)
    made = paired_difference(np.minimum(merged, lengths), lengths, lengths)
    assert made.relative == pytest.approx(made.absolute) and made.relative_ci95 == pytest.approx(made.ci95)


def test_one_utterance_has_no_interval():
    made = paired_difference(np.array([1]), np.array([2]), np.array([4]))
    assert made.ci95 is None and made.relative_ci95 is None and made.p_value == 1.0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_swapping_the_systems_flips_the_sign(seed, n):
    merged, baseline, lengths = arrays(n, seed)
    one, other = (paired_difference(a, b, lengths, draws=500) for a, b in ((merged, baseline), (baseline, merged)))
    assert one.absolute == -other.absolute and one.p_value == other.p_value
    assert (one.ci95 is None and other.ci95 is None) or one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]))


@pytest.mark.parametrize("clusters", [None, 2, 3, 5, 10])
def test_the_size_of_the_test_is_at_most_five_percent(clusters):
    """Exchangeable systems, in utterances or in speakers who differ: rejected in 5 % at most (bound at 4 sigma)."""
    rng = np.random.default_rng(0)
    found = 0
    for repeat in range(300):
        n = 80 if clusters is None else 30 * clusters
        labels = None if clusters is None else np.repeat(np.arange(clusters), 30)
        tilt = 0.5 if clusters is None else (0.5 + rng.normal(0, 0.05, clusters))[labels]
        change = (rng.random(n) < 0.3) * np.where(rng.random(n) < tilt, 1, -1)
        baseline = np.full(n, 2)
        made = paired_difference(
            baseline + change, baseline, np.full(n, 10), None if labels is None else labels.tolist(), 400, repeat
        )
        found += made.p_value < 0.05
    assert found / 300 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)


def test_the_bootstrap_is_there_on_request_and_agrees_with_scipy():
    merged, baseline, lengths = arrays(200)
    ours = paired_difference(merged, baseline, lengths, interval="bootstrap")

    def statistic(new, old, words, axis=-1):
        return (new.sum(axis) - old.sum(axis)) / words.sum(axis)

    theirs = stats.bootstrap(
        (merged, baseline, lengths), statistic, paired=True, method="percentile", n_resamples=20_000, rng=1
    )
    assert ours.ci95 == pytest.approx(tuple(theirs.confidence_interval), abs=6e-4)
    assert ours.interval == "bootstrap" and "percentile bootstrap" in ours.test
    assert ours.p_value == paired_difference(merged, baseline, lengths).p_value


@pytest.mark.parametrize(
    ("wrong", "more"),
    [
        (([1], [1, 2], [1, 2]), {}),
        (([1, 2], [1, 2], [0, 0]), {}),
        (([1, 2], [1, 2], [1, 2]), {"interval": "bca"}),
        (([1, 2], [1, 2], [1, 2]), {"clusters": [1]}),
    ],
    ids=["lengths differ", "no words", "unknown interval", "clusters missing"],
)
def test_bad_input(wrong, more):
    with pytest.raises(ValueError):
        paired_difference(*(np.array(column) for column in wrong), **more)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=20, deadline=None)  # statsmodels takes 0.1 s a call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_equals_statsmodels(p_values):
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)


def test_mcnemar_is_the_sign_flip_test_of_clips():
    rng = np.random.default_rng(4)
    merged, baseline = rng.integers(0, 2, (2, 25))
    made = paired_difference(merged, baseline, np.ones(25, np.int64), unit="clip")
    assert made.changed <= 16 and made.p_value == pytest.approx(exact_mcnemar(merged, baseline))


def test_draws_of_a_random_model_are_averaged_and_widen_the_interval():
    """Distances from the estimate grow by the variance between draws, on Satterthwaite's degrees of freedom."""
    merged, baseline, lengths = arrays(200, seed=3)
    one = paired_difference(merged, baseline, lengths)
    same = paired_difference(np.stack([merged] * 4), baseline, lengths)
    assert (same.absolute, same.p_value) == (one.absolute, one.p_value) and same.ci95 == pytest.approx(one.ci95)
    shifts = np.array([-1, 0, 0, 1])
    made = paired_difference(np.stack([merged + shift for shift in shifts]), baseline, lengths)
    assert made.absolute == pytest.approx(one.absolute)
    per_word = len(lengths) / lengths.sum()
    between = shifts.var(ddof=1) / 4 * per_word**2
    d = merged - baseline
    residuals = d - d.sum() / lengths.sum() * lengths
    unseen = 2 * np.mean(d == 0) * np.mean(d[d != 0] ** 2)
    over_units = (np.sum(residuals**2) + unseen) * 200 / 199 / lengths.sum() ** 2
    freedom = (between + over_units) ** 2 / (between**2 / 3 + over_units**2 / 199)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(between + over_units)
    assert (made.ci95[1] - made.ci95[0]) / 2 == pytest.approx(half, rel=0.05)
    assert made.p_value > one.p_value and (made.ci95[0] <= 0 <= made.ci95[1]) == (made.p_value >= 0.05)
    assert "and 4 draws of a side" in made.test and "draws of a side" not in one.test


def test_draws_on_both_sides():
    merged, baseline, lengths = arrays(50)
    made = paired_difference(np.stack([merged, baseline]), np.stack([baseline, merged]), lengths)
    assert made.absolute == pytest.approx(0) and made.changed == 0 and made.p_value == 1.0


def test_the_relative_interval_is_at_95_percent_by_hand():
    """Twelve utterances that all improve: the upper end is the test's own, the lower one Student's t.

    The test is asked of every δ by flipping d - δ·b itself, b the baseline's errors; t has 11 degrees of freedom.
    """
    baseline = np.array([3, 4, 2, 5, 3, 2, 4, 6, 3, 2, 5, 4])
    merged = baseline - np.array([1, 1, 1, 2, 1, 1, 1, 3, 1, 1, 2, 1])
    made = paired_difference(merged, baseline, np.full(12, 10))
    difference, estimate = merged - baseline, -16 / 43
    assert made.relative == pytest.approx(estimate)
    signs = np.array(list(itertools.product((1, -1), repeat=12)))

    def p_value(delta):
        residuals = difference - delta * baseline
        return np.mean(np.abs(signs @ residuals) >= abs(residuals.sum()) - 1e-9)

    low, high = made.relative_ci95
    assert p_value(high - 1e-6) >= 0.05 > p_value(high + 1e-6)
    residuals = difference - estimate * baseline
    unseen = 2 * (1 / 12) * np.mean(difference**2)
    half = stats.t.ppf(0.975, 11) * math.sqrt((np.sum(residuals**2) + unseen) * 12 / 11) / 43
    assert low == pytest.approx(estimate - half) and p_value(low) < 0.05


def test_the_bootstraps_relative_interval_agrees_with_scipy():
    merged, baseline, lengths = arrays(200)
    ours = paired_difference(merged, baseline, lengths, draws=20_000, interval="bootstrap")

    def statistic(new, old, axis=-1):
        return new.sum(axis) / old.sum(axis) - 1

    theirs = stats.bootstrap((merged, baseline), statistic, paired=True, method="percentile", n_resamples=20_000, rng=1)
    assert ours.relative_ci95 == pytest.approx(tuple(theirs.confidence_interval), abs=2e-3)
