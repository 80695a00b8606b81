"""Optimal transport: soft assignments by hand, against numpy and scipy, and as an alignment."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, minimize
from support.alignment import HEADS, D, pairs, permutation, scrambled
from support.runs import mam

from mam.errors import MergeError
from mam.merging import transport
from mam.merging.basis import Basis, moved
from mam.merging.fits import FITS, cosine
from mam.merging.transport import SOFTNESS, assignment


def soft(features: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return assignment((features**2).sum(1), (others**2).sum(1), features @ others.T)


def test_two_by_two_by_hand():
    # Costs 0 and 1, so that their deviation is 1/2: each row is a softmax of 0 and -1 / (SOFTNESS / 2).
    apart = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    stays = 1 / (1 + math.exp(-2 / SOFTNESS))
    expected = torch.tensor([[stays, 1 - stays], [1 - stays, stays]], dtype=torch.float64)
    torch.testing.assert_close(soft(apart, apart), expected)
    same = torch.ones(2, 3, dtype=torch.float64)
    assert soft(same, same).tolist() == [[0.5, 0.5], [0.5, 0.5]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9))
def test_rows_and_columns_sum_to_one_and_it_is_what_scipy_finds(seed, n):
    random = np.random.default_rng(seed)
    ours, theirs = random.normal(size=(2, n, 3))
    found = soft(torch.from_numpy(ours), torch.from_numpy(theirs)).numpy()
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-8)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-8)
    cost = ((ours[:, None] - theirs[None]) ** 2).sum(-1)
    # The dual is concave; scipy climbs it without Sinkhorn's steps.
    scaled = cost / (SOFTNESS * cost.std())

    def dual(potentials):
        plan = np.exp(potentials[:n, None] + potentials[None, n:] - scaled)
        return plan.sum() - potentials.sum(), np.concatenate([plan.sum(1) - 1, plan.sum(0) - 1])

    start = np.concatenate([scaled.min(1), np.zeros(n)])
    best = minimize(dual, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}).x
    expected = np.exp(best[:n, None] + best[None, n:] - scaled)
    assume(abs(expected.sum(1) - 1).max() < 1e-6)  # scipy may stop early
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_with_little_entropy_it_is_the_best_permutation(monkeypatch):
    monkeypatch.setattr(transport, "SOFTNESS", 0.0002)
    random = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(7, 40, generator=random, dtype=torch.float64) for _ in range(2))
    rows, columns = linear_sum_assignment((torch.cdist(ours, theirs) ** 2).numpy())
    found = soft(ours, theirs)
    assert found.argmax(1).tolist() == columns.tolist() and found[rows, columns].min() > 0.5


def test_it_finds_the_names_that_were_lost():
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    lost = scrambled(pairs(), Basis(permutation(order)))
    basis = FITS["ot"].fit(lost, HEADS)
    assert basis.stream.T.argmax(1).tolist() == order
    for before, after in zip(lost, moved(lost, basis), strict=True):
        assert cosine(after) > 0.99 > cosine(before)


def test_a_soft_assignment_shrinks():
    """A doubly stochastic matrix has no singular value above 1."""
    for one, other in zip(pairs(), moved(pairs(), FITS["ot"].fit(pairs(), HEADS)), strict=True):
        for part in "qkv":
            assert other.source[part][0].norm() <= one.source[part][0].norm() * (1 + 1e-6)
    assert torch.linalg.matrix_norm(FITS["ot"].fit(pairs(), HEADS).stream, 2) <= 1 + 1e-6
    assert FITS["ot"].fit(pairs(), HEADS).stream.shape == (D, D)


def test_of_unrelated_models_something_is_left():
    """In many dimensions all features are about equally far apart; the assignment must still tell them apart."""
    ours, theirs = features(256, 512, 1), features(256, 512, 2)
    found = soft(ours, theirs)
    assert found.max() > 0.5 and (found @ theirs).norm() > 0.2 * theirs.norm()


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_does_not_converge_is_refused(monkeypatch):
    monkeypatch.setattr(transport, "STEPS", 0)
    with pytest.raises(MergeError, match="align=ot: the assignment did not converge"):
        FITS["ot"].fit(pairs(), HEADS)


def test_it_runs():
    shown = mam("run", "align=ot", "lam=0.2", "data.limit=2", "evaluate.draws=100")
    assert shown.returncode == 0 and "aligned by ot" in shown.stdout, shown.stderr
