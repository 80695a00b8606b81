"""The probe is scikit-learn's, regularised inside the training clips, and fitted once."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mam.errors import DataError
from mam.models import heads
from mam.models.heads import INVERSE_STRENGTHS, fit_probe


def blobs(n: int = 60, seed: int = 0, spread: float = 1.5):
    rng = np.random.default_rng(seed)
    labels = np.array(["a", "b", "c"])[np.arange(n) % 3]
    centres = np.random.default_rng(9).standard_normal((3, 8)) * 2
    return (centres[np.arange(n) % 3] + spread * rng.standard_normal((n, 8))).astype(np.float32), labels.tolist()


def test_probe_equals_scikit_learn_at_the_strength_chosen():
    features, labels = blobs()
    probe = fit_probe(features, labels, [i % 4 for i in range(60)])
    inputs = features.astype(float)
    scaler = StandardScaler().fit(inputs)
    by_hand = LogisticRegression(C=probe.strength, max_iter=1000).fit(scaler.transform(inputs), labels)
    other, truth = blobs(seed=1)
    expected = by_hand.predict_proba(scaler.transform(other.astype(float)))
    np.testing.assert_allclose(probe.scores(other), expected, atol=1e-12)
    assert probe.classes == ["a", "b", "c"] and probe.is_converged
    assert np.mean(np.array(probe.classes)[probe.scores(other).argmax(1)] == truth) > 0.7


def test_strength_is_chosen_by_leaving_groups_out():
    """The same search written out; of equally good strengths the strongest regularisation (the smallest C)."""
    features, labels = blobs(spread=4)
    groups = np.array([i // 15 for i in range(60)])
    accuracy = []
    for strength in INVERSE_STRENGTHS:
        right = []
        for group in range(4):
            train = groups != group
            scaler = StandardScaler().fit(features[train].astype(float))
            model = LogisticRegression(C=strength, max_iter=1000)
            model.fit(scaler.transform(features[train].astype(float)), np.array(labels)[train])
            right.append(model.score(scaler.transform(features[~train].astype(float)), np.array(labels)[~train]))
        accuracy.append(sum(right))
    assert fit_probe(features, labels, groups.tolist()).strength == INVERSE_STRENGTHS[int(np.argmax(accuracy))]


def test_the_same_clips_are_fitted_once(monkeypatch):
    features, labels = blobs(seed=5)
    first = fit_probe(features, labels, [i % 3 for i in range(60)])
    monkeypatch.setattr(heads, "_fit", lambda *_: pytest.fail("fitted twice"))
    assert fit_probe(features.copy(), labels, [["x", "y", "z"][i % 3] for i in range(60)]) is first


def test_what_cannot_be_fitted_is_named():
    features, labels = blobs()
    with pytest.raises(
        DataError,
        match=(
            "a probe cannot be fitted on 60 clips of 1 classes in 2 groups: it needs at least two classes and two"
            " groups"
        ),
    ):
        fit_probe(features, ["a"] * 60, [i % 2 for i in range(60)])
    with pytest.raises(DataError, match="60 clips of 3 classes in 1 groups"):
        fit_probe(features, labels, [0] * 60)


def test_an_unfinished_fit_is_noted(monkeypatch):
    monkeypatch.setattr(heads, "ITERATIONS", 1)
    features, labels = blobs(seed=6)
    assert not fit_probe(features, labels, [i % 4 for i in range(60)]).is_converged


def test_of_equally_good_strengths_the_strongest_regularisation_is_taken():
    """Classes that lie far apart: every strength gets every clip right."""
    features, labels = blobs(spread=0.01)
    groups = np.arange(60) // 15
    scaler = StandardScaler().fit(features.astype(float))
    for strength in (0.001, 10.0):
        for group in range(4):
            model = LogisticRegression(C=strength, max_iter=1000)
            model.fit(scaler.transform(features)[groups != group], np.array(labels)[groups != group])
            assert model.score(scaler.transform(features)[groups == group], np.array(labels)[groups == group]) == 1
    assert fit_probe(features, labels, groups.tolist()).strength == 0.001
