"""Classification errors by hand and against scikit-learn."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from mam.scoring.error_rate import confusion, error_rates, mistakes
from mam.scoring.significance import exact_mcnemar

LABELS = ["dog", "cat", "dog", "rain", "cat", "rain", "dog"]
GUESSES = ["dog", "dog", "dog", "rain", "cat", "dog", "cat"]


def test_rates_worked_out_by_hand():
    wrong = mistakes(LABELS, GUESSES)
    np.testing.assert_array_equal(wrong, [0, 1, 0, 0, 0, 1, 1])
    rates = error_rates(wrong, [1, 1, 1, 1, 2, 2, 2])
    assert (rates.error, rates.errors, rates.clips) == (3 / 7, 3, 7)
    assert rates.fold_errors == (1 / 4, 2 / 3)
    assert rates.fold_mean == pytest.approx(11 / 24)
    assert rates.fold_sd == pytest.approx((2 / 3 - 1 / 4) / 2**0.5)
    assert error_rates(wrong, ["test"] * 7).fold_sd is None


def test_confusion_by_hand():
    classes, counts = confusion(LABELS, GUESSES)
    assert classes == ["cat", "dog", "rain"]
    assert counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 1, 1]] and counts.dtype == np.int64
    assert confusion(["a", "a"], ["a", "a"])[1].tolist() == [[2]]
    assert mistakes(LABELS, GUESSES).mean() == pytest.approx(1 - accuracy_score(LABELS, GUESSES))


def test_a_class_that_is_only_predicted_has_a_row():
    classes, counts = confusion(["a"], ["b"])
    assert classes == ["a", "b"] and counts.tolist() == [[0, 1], [0, 0]]


def test_no_clips_is_an_error():
    for labels, guesses in (([], []), (["a"], [])):
        with pytest.raises(ValueError, match="labels and"):
            mistakes(labels, guesses)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_mcnemar_equals_a_sum_of_whole_numbers_and_is_symmetric(pairs):
    merged, baseline = (np.array(side) for side in zip(*pairs, strict=True))
    gained, lost = int((merged < baseline).sum()), int((merged > baseline).sum())
    tail = sum(comb(gained + lost, k) for k in range(min(gained, lost) + 1))
    expected = min(Fraction(1), Fraction(2 * tail, 2 ** (gained + lost)))
    assert exact_mcnemar(merged, baseline) == pytest.approx(float(expected), rel=1e-12)
    assert exact_mcnemar(merged, baseline) == exact_mcnemar(baseline, merged)


def test_mcnemar_by_hand():
    merged, baseline = np.array([1, 1, 1, 1, 1, 1, 0, 1]), np.array([0, 0, 0, 0, 0, 0, 1, 1])
    assert exact_mcnemar(merged, baseline) == pytest.approx(2 * (1 + 7) / 2**7)  # six to one
    assert exact_mcnemar(merged, merged) == 1


def test_mcnemar_of_thousands_does_not_overflow():
    merged = np.zeros(4000, dtype=int)
    merged[:2500] = 1
    assert 0 <= exact_mcnemar(merged, 1 - merged) < 1e-50
