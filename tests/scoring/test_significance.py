import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mam.scoring.significance import holm, paired_bootstrap


def arrays(n=60, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 15, n)
    baseline = rng.integers(0, 5, n)
    return np.maximum(baseline + rng.integers(-1, 2, n), 0), baseline, lengths


def test_point_estimates_by_hand():
    made = paired_bootstrap(np.array([1, 0, 2]), np.array([2, 0, 2]), np.array([5, 5, 10]))
    assert made.absolute == -1 / 20 and made.relative == -1 / 4 and made.clusters == 3


def test_two_utterances_by_hand():
    """Of the four equally likely draws one has d = -2/20, two -1/20... the quantiles and p follow."""
    made = paired_bootstrap(np.array([0, 1]), np.array([2, 1]), np.array([10, 10]), draws=20_000)
    assert made.ci95 == (-0.2, 0.0)  # draws: (1,1) -0.2, (1,2) and (2,1) -0.1, (2,2) 0
    assert made.p_value == pytest.approx(2 * 0.25, abs=0.02)  # d >= 0 in a quarter of the draws
    assert made.detectable == pytest.approx((1.959964 + 0.841621) * math.sqrt(0.005), rel=0.02)


def test_interval_agrees_with_scipy():
    merged, baseline, lengths = arrays(200)
    ours = paired_bootstrap(merged, baseline, lengths)

    def statistic(new, old, words, axis=-1):
        return (new.sum(axis) - old.sum(axis)) / words.sum(axis)

    theirs = stats.bootstrap(
        (merged, baseline, lengths), statistic, paired=True, method="percentile", n_resamples=20_000, rng=1
    )
    assert ours.ci95 == pytest.approx(tuple(theirs.confidence_interval), abs=6e-4)
    assert ours.detectable == pytest.approx(2.80159 * theirs.standard_error, rel=0.03)


def test_clusters_are_drawn_whole():
    """Copies of an utterance in one cluster carry no more evidence than the utterance alone."""
    merged, baseline, lengths = arrays(30)
    once = paired_bootstrap(merged, baseline, lengths)
    copies = [np.repeat(column, 5) for column in (merged, baseline, lengths)]
    clustered = paired_bootstrap(*copies, clusters=np.repeat(np.arange(30), 5).tolist())
    naive = paired_bootstrap(*copies)
    assert clustered.ci95 == once.ci95 and clustered.clusters == 30
    assert naive.ci95[1] - naive.ci95[0] < 0.6 * (once.ci95[1] - once.ci95[0])


def test_identical_systems_differ_by_nothing():
    _, baseline, lengths = arrays()
    made = paired_bootstrap(baseline, baseline, lengths)
    assert (made.absolute, made.ci95, made.p_value, made.detectable) == (0.0, (0.0, 0.0), 1.0, None)


def test_baseline_without_errors_has_no_relative_change():
    made = paired_bootstrap(np.array([1, 0]), np.array([0, 0]), np.array([4, 4]))
    assert made.relative is None and made.relative_ci95 is None and made.absolute == 1 / 8


def test_an_infinite_end_of_the_relative_interval_is_none():
    made = paired_bootstrap(np.array([2, 1, 1]), np.array([1, 0, 0]), np.array([4, 4, 4]))
    assert made.relative == 3.0 and made.relative_ci95[1] is None  # 8 of 27 draws have no baseline error


def test_one_utterance_has_no_interval():
    made = paired_bootstrap(np.array([1]), np.array([2]), np.array([4]))
    assert made.ci95 is None and made.relative_ci95 is None and made.detectable is None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_swapping_the_systems_flips_the_sign(seed, n):
    merged, baseline, lengths = arrays(n, seed)
    one, other = (paired_bootstrap(a, b, lengths, draws=500) for a, b in ((merged, baseline), (baseline, merged)))
    assert one.absolute == -other.absolute and one.p_value == other.p_value
    assert one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]))


def test_same_seed_same_numbers_whatever_the_chunks(monkeypatch):
    merged, baseline, lengths = arrays()
    one = paired_bootstrap(merged, baseline, lengths, seed=3)
    assert one == paired_bootstrap(merged, baseline, lengths, seed=3)
    assert one.ci95 != paired_bootstrap(merged, baseline, lengths, seed=4).ci95
    monkeypatch.setattr("mam.scoring.significance.CHUNK", 600)
    assert one == paired_bootstrap(merged, baseline, lengths, seed=3)


def test_a_null_difference_is_found_as_often_as_it_should():
    """With exchangeable systems p < 0.05 in about 5 % of repeats (binomial bounds at 4 sigma)."""
    rng = np.random.default_rng(0)
    found = 0
    for repeat in range(300):
        pair = rng.poisson(1.0, (2, 80))
        found += paired_bootstrap(pair[0], pair[1], np.full(80, 10), draws=400, seed=repeat).p_value < 0.05
    assert abs(found / 300 - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("wrong", [([1], [1, 2], [1, 2]), ([1, 2], [1, 2], [0, 0])], ids=["lengths differ", "no words"])
def test_bad_input(wrong):
    with pytest.raises(ValueError):
        paired_bootstrap(*(np.array(column) for column in wrong))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_equals_statsmodels(p_values):
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)


def test_draws_of_a_random_model_are_averaged_and_widen_the_interval():
    """Point estimate by hand; the variance of the mean of m draws, resampled with replacement, enters."""
    merged, baseline, lengths = arrays(200, seed=3)
    same = paired_bootstrap(np.stack([merged] * 4), baseline, lengths)
    one = paired_bootstrap(merged, baseline, lengths)
    assert (same.absolute, same.ci95, same.p_value) == (one.absolute, one.ci95, one.p_value)
    shifts = np.array([-1, 0, 0, 1])
    spread = np.stack([merged + shift for shift in shifts])
    made = paired_bootstrap(spread, baseline, lengths)
    assert made.absolute == pytest.approx(one.absolute)
    errors_in = [(interval[1] - interval[0]) / 2 / 1.96 for interval in (one.ci95, made.ci95)]
    per_word = len(lengths) / lengths.sum()
    between = shifts.std() / 4**0.5 * per_word
    assert errors_in[1] == pytest.approx((errors_in[0] ** 2 + between**2) ** 0.5, rel=0.06)
    assert "and 4 draws of the control" in made.test and "draws of the control" not in one.test


def test_draws_on_both_sides():
    merged, baseline, lengths = arrays(50)
    made = paired_bootstrap(np.stack([merged, baseline]), np.stack([baseline, merged]), lengths)
    assert made.absolute == pytest.approx(0) and made.ci95[0] < 0 < made.ci95[1]
