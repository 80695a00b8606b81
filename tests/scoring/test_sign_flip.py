"""The sign-flip test against enumeration by hand and scipy, and its inversion against the test itself."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mam.scoring.sign_flip import flips, one_sided_p, relabelled_p


def two_sided(differences: list[int]) -> float:
    """The share of all assignments of signs whose sum is at least as far from 0: straight from the definition."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(one >= observed for one in sums) / len(sums)


def table(differences, denominators=None):
    d = np.asarray(differences, dtype=np.int64)
    return np.stack([d, np.full(len(d), 10) if denominators is None else np.asarray(denominators)], axis=1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_p_counts_every_assignment_of_signs(differences):
    assert flips(table(differences), 100, 0).p_value(1, 0.0) == pytest.approx(two_sided(differences))


@pytest.mark.parametrize(("changed", "p"), [(1, 1.0), (2, 0.5), (4, 0.125), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
@pytest.mark.parametrize("unchanged", [0, 20, 90])
def test_p_of_changes_in_one_direction_is_exact_whatever_did_not_change(changed, p, unchanged):
    made = flips(table([-1] * changed + [0] * unchanged), 100, 0)
    assert made.is_exact and made.p_value(1, 0.0) == p


def test_many_changes_agree_with_scipys_permutation_test():
    rng = np.random.default_rng(5)
    differences = rng.integers(-3, 4, 60) + (np.arange(60) < 9)
    ours = flips(table(differences), 20_000, 1)
    theirs = stats.permutation_test(
        (differences.astype(float),), np.sum, permutation_type="samples", n_resamples=20_000, rng=3
    )
    assert not ours.is_exact
    assert ours.p_value(1, 0.0) == pytest.approx(theirs.pvalue, abs=4 * math.sqrt(theirs.pvalue / 20_000))


def test_p_is_never_zero():
    made = flips(table([-1] * 40), 500, 0)
    assert made.p_value(1, 0.0) == 1 / 501


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 20)), min_size=6, max_size=9), st.floats(-0.5, 0.5))
def test_the_interval_holds_what_the_test_does_not_reject(units, delta):
    """p(δ) by flipping d - δ·w itself, against the interval that one pass gives for all δ."""
    d, w = (np.array(column, dtype=float) for column in zip(*units, strict=True))
    made = flips(table(d, w), 100, 0)
    residuals = d - delta * w
    signs = np.array(list(itertools.product((1, -1), repeat=len(d))))
    sums = np.abs(signs @ residuals)
    p = float(np.mean(sums >= abs(residuals.sum()) - 1e-9))
    low, high = made.interval(1)
    if low + 1e-6 < delta < high - 1e-6:
        assert p >= 0.05
    elif delta < low - 1e-6 or delta > high + 1e-6:
        assert p < 0.05
    if np.min(np.abs(np.concatenate(made.ratios(1)) - delta)) > 1e-6:  # no assignment is a tie
        assert made.p_value(1, delta) == pytest.approx(p)


def test_five_units_have_no_interval_and_six_have_the_range_of_their_rates():
    """With six units only the two assignments without a change of sign are below 5 %: no rate beyond the extremes."""
    assert flips(table([1, 2, 3, 4, 5]), 100, 0).interval(1) == (-math.inf, math.inf)
    assert flips(table([1, 2, 3, 4, 5, 9]), 100, 0).interval(1) == pytest.approx((0.1, 0.9))


@pytest.mark.parametrize("differences", [[1, 1, 1], [2, -1, 0, 0, 1], [0, 0], [-1, -1], [3]])
def test_one_sided_p_by_hand(differences):
    changed = [d for d in differences if d]
    signed = [
        sum(s * d for s, d in zip(signs, changed, strict=True))
        for signs in itertools.product((1, -1), repeat=len(changed))
    ]
    expected = sum(one >= sum(changed) for one in signed) / len(signed)
    assert one_sided_p(np.array(differences, dtype=float), 100, 0) == expected


def test_one_sided_p_takes_equal_sums_of_means_as_equal():
    """0.1 + 0.2 is not 0.3 in floating point; as a tie it counts."""
    assert one_sided_p(np.array([0.1, 0.2, -0.3]), 100, 0) == 5 / 8


def test_same_seed_same_numbers_whatever_the_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    units = table(rng.integers(-2, 3, 80), rng.integers(5, 30, 80))
    one = flips(units, 1000, 3)
    assert np.array_equal(one.sums, flips(units, 1000, 3).sums)
    assert not np.array_equal(one.sums, flips(units, 1000, 4).sums)
    monkeypatch.setattr("mam.scoring.sign_flip.CHUNK", 800)
    assert one.interval(1) == pytest.approx(flips(units, 1000, 3).interval(1), rel=0.1)


@pytest.mark.parametrize("size", [1, 10_000_000])
def test_sums_are_whole_numbers_in_either_precision(size):
    units = table([size] * 40)
    sums = flips(units, 50, 0).sums[:, 0]
    assert np.array_equal(sums % size, np.zeros(50)) and sums.max() <= 40 * size


def test_no_sampled_p_is_zero():
    """Forty units of one direction: none of the draws is as extreme, and the observed one counts as one of them."""
    assert one_sided_p(np.ones(40), 500, 0) == 1 / 501
    new, old = np.full((2, 40), 9), np.zeros((3, 40), np.int64)
    assert relabelled_p(new, old, 300, 0) == 1 / 301
