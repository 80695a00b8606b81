"""Differences over seeds by Student's t, against scipy."""

import numpy as np
import pytest
from scipy import stats

from mam.scoring.seeds import paired_t


def test_paired_t_is_scipys():
    values = [-0.03, -0.01, 0.02, -0.04, -0.02]
    mean, ci95, p_value = paired_t(values)
    expected = stats.ttest_1samp(values, 0)
    assert (mean, p_value) == pytest.approx((np.mean(values), expected.pvalue))
    assert ci95 == pytest.approx(tuple(expected.confidence_interval()))


def test_four_seeds_and_equal_differences_say_nothing():
    assert paired_t([-0.03, -0.01, 0.02, -0.04])[1:] == (None, None)
    assert paired_t([0.1] * 5) == (pytest.approx(0.1), None, None)
