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


def t_of(differences: np.ndarray) -> float:
    return differences.mean() / differences.std(ddof=1) * len(differences) ** 0.5


@pytest.mark.parametrize("seed", range(6))
def test_what_all_of_dev_would_hardly_show_to_be_better_is_set_aside(seed):
    """Two looks at two λ share .05, which is t 1.95996: z on a quarter is at most 2z + 1.95996·√3 on all of dev."""
    rng, lams, n = np.random.default_rng(seed), [0.0, 0.1], 320
    good = rng.poisson(1, n) + 1
    other = good + rng.choice([-1, 0, 1], n, p=[0.3, 0.35, 0.35])
    ran = race(table_of(np.stack([good, other]), lams)[0], lams, n, looks=5, seed=seed)
    order = np.concatenate(blocks(n, 5, seed))
    ended = n
    for look in ran.path:
        better = t_of((good - other if look.leader == 0 else other - good)[order[: look.examples]])
        bound = {80: 2 * better + 1.95996 * 3**0.5, 160: 2**0.5 * better + 1.95996}.get(look.examples, 9)
        assert look.settled == (["0.1" if look.leader == 0 else "0"] if bound < 1.96 and not look.dropped else None)
        ended = look.examples if look.settled or look.dropped else ended
    assert ran.path[-1].examples == ended and ran.chosen == ran.path[-1].leader


def test_one_that_would_be_significantly_better_is_set_aside_as_rarely_as_promised():
    """1000 races of six λ, half of them a little better than the others; judged on all of dev."""
    rng, lost, settled, lams = np.random.default_rng(6), 0, 0, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    for seed in range(1000):
        shared = rng.poisson(0.6, 200)
        errors = np.stack(
            [np.where(rng.random(200) < 0.2, rng.poisson(0.6 - 0.1 * (i % 2), 200), shared) for i in range(6)]
        )
        ran = race(table_of(errors, lams)[0], lams, 200, looks=5, alpha=0.05, seed=seed)
        aside = [(look.leader, float(lam)) for look in ran.path for lam in look.settled or ()]
        differences = [errors[lams.index(leader)] - errors[lams.index(lam)] for leader, lam in aside]
        lost += any(t_of(each) > 1.96 for each in differences if each.any())
        settled += len(aside)
    assert lost <= 65 and settled > 1000


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
