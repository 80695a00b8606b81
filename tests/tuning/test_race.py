"""Racing: what is dropped and when, by hand; the best is lost as rarely as promised; work is saved."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mam.tuning.race import blocks, race


def table_of(errors: np.ndarray, lams: list[float], lengths: np.ndarray | None = None):
    asked: list[tuple[float, int]] = []
    lengths = np.ones(errors.shape[1], np.int64) if lengths is None else lengths

    def seen(lam, positions):
        asked.append((lam, len(positions)))
        return errors[lams.index(lam)][positions].astype(float), lengths[positions]

    return seen, asked


@given(n=st.integers(1, 500), looks=st.integers(1, 8), seed=st.integers(0, 9))
def test_looks_double_and_cover_dev_once(n, looks, seed):
    made = blocks(n, looks, seed)
    assert sorted(np.concatenate(made)) == list(range(n))
    ends = np.cumsum([len(block) for block in made])
    assert all(later <= 2 * earlier + 1 for earlier, later in itertools.pairwise(ends))


def test_what_is_worse_is_dropped_and_costs_no_more():
    rng, lams = np.random.default_rng(0), [0.0, 0.1, 0.5]
    good = rng.poisson(1, 320)
    errors = np.stack([good, good, good + rng.poisson(3, 320)])
    seen, asked = table_of(errors, lams)
    ran = race(seen, lams, 320, looks=5, alpha=0.05, seed=1, settles=False)
    assert ran.chosen == 0.0, "of equal ones the smallest"
    assert [lam for lam, _ in asked].count(0.5) == 1 and list(ran.path[0].dropped) == ["0.5"]
    assert ran.path[0].examples == 20 and ran.path[-1].examples == 320
    assert ran.work == pytest.approx((320 + 320 + 20) / 960)
    assert ran.rates[0.0] == good.sum() / 320


def test_it_ends_when_one_is_left():
    lams = [0.0, 0.3]
    seen, asked = table_of(np.stack([np.ones(160), np.zeros(160)]), lams)
    ran = race(seen, lams, 160, looks=4)
    assert ran.chosen == 0.3 and len(ran.path) == 1 and sum(n for _, n in asked) == 40


def test_it_settles_when_none_left_could_be_told_from_the_leader():
    rng, lams = np.random.default_rng(0), [0.0, 0.1, 0.2]
    good = rng.poisson(1, 320)
    seen, _ = table_of(np.stack([good, good, good + (rng.random(320) < 0.3)]), lams)
    ran = race(seen, lams, 320, looks=5, seed=1)
    # 0.2 is worse by 0.3 errors: with all of dev a t of 11. It is dropped first; 0.0 and 0.1 are equal.
    assert "0.2" in {lam for look in ran.path for lam in look.dropped}
    assert ran.chosen == 0.0 and ran.path[-1].examples == 80


def test_clusters_are_the_units():
    """Twenty examples of two speakers are two units: nothing is dropped on them."""
    lams = [0.0, 0.3]
    errors = np.stack([np.ones(20), np.zeros(20)])
    seen, _ = table_of(errors, lams)
    ran = race(seen, lams, 20, looks=1, clusters=["a", "b"] * 10)
    assert ran.path[0].dropped == {} and ran.chosen == 0.3
    assert race(table_of(errors, lams)[0], lams, 20, looks=1).path[0].dropped != {}


def test_weights_count_the_work():
    lams = [0.0, 0.3]
    weights = np.linspace(1, 3, 160)
    seen, _ = table_of(np.stack([np.ones(160), np.zeros(160)]), lams)
    ran = race(seen, lams, 160, looks=4, seed=3, weights=weights)
    assert ran.work == pytest.approx(weights[blocks(160, 4, 3)[0]].sum() / weights.sum())


def test_the_best_is_dropped_as_rarely_as_promised():
    """1000 races between six λ that are equally good on skewed, sparse errors: each is the best of a sort."""
    rng, dropped, lams = np.random.default_rng(5), 0, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    for seed in range(1000):
        shared = rng.poisson(0.6, 200)
        errors = np.stack([np.where(rng.random(200) < 0.15, rng.poisson(0.6, 200), shared) for _ in lams])
        ran = race(table_of(errors, lams)[0], lams, 200, looks=5, alpha=0.05, seed=seed, settles=False)
        dropped += any("0.3" in look.dropped for look in ran.path)
    assert dropped <= 65  # 50 and three standard deviations of a binomial would be 71


@pytest.mark.parametrize(
    ("worse", "looks", "others", "is_dropped"),
    [
        (5, 1, 1, True),  # p = 1/32 = .03125 below .05
        (5, 2, 1, False),  # not below .05/2 = .025
        (6, 3, 1, True),  # 1/64 = .015625 below .05/3 = .01667
        (6, 4, 1, False),  # not below .05/4 = .0125
        (6, 2, 2, False),  # nor below .05/(2·2) = .0125
        (7, 3, 2, True),  # 1/128 = .00781 below .05/(3·2) = .00833
        (7, 4, 2, False),  # not below .05/(4·2) = .00625
    ],
)
def test_the_level_of_a_look_is_shared_by_all_looks_and_comparisons(worse, looks, others, is_dropped):
    """At the first look one λ has an error more in each of ``worse`` examples; the others make none."""
    n, lams = worse * 2 ** (looks - 1), [0.0, 0.1, 0.2][: others + 1]
    errors = np.zeros((len(lams), n))
    errors[-1] = 1
    ran = race(table_of(errors, lams)[0], lams, n, looks=looks, alpha=0.05, settles=False)
    assert ran.path[0].examples == worse
    assert list(ran.path[0].dropped) == ([f"{lams[-1]:g}"] if is_dropped else [])
