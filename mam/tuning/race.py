"""Racing: all λ run on a growing part of dev. Those shown to be worse than the leader are dropped early, and those that
all of dev would hardly show to be better are set aside.

After Maron & Moore 1994 (Hoeffding races) and Moore & Lee 1994 (blocking: candidates are compared on the same
examples), with the sign-flip test in place of their bounds. What is set aside is decided by predictive power
(Spiegelhalter, Freedman & Blackburn 1986), as a trial is stopped for futility.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mam.records.learning import RaceLook
from mam.scoring.sign_flip import one_sided_p

SETTLING = (1 / 4, 1 / 2)  # shares of dev at which λ may be set aside
TOLD_APART = 1.96  # smallest t of a difference that is significant at 5 %
DRAWS = 20  # expected number of random sign assignments as extreme as the level of a look

# (λ, positions in dev) -> errors and lengths of these examples, each [n]
Errors = Callable[[float, Sequence[int]], tuple[NDArray[np.float64], NDArray[np.int64]]]


@dataclass(frozen=True)
class Race:
    """The result of a race.

    Attributes:
        chosen: the λ that won.
        rates: error rate of each λ on the examples it has seen.
        path: one entry per look.
        work: share of the grid's evaluations that was done, weighted by ``weights`` such as seconds.
    """

    chosen: float
    rates: dict[float, float]
    path: list[RaceLook]
    work: float


def blocks(n: int, looks: int, seed: int) -> list[NDArray[np.int64]]:
    """Return positions of dev in random order, cut where each look begins.

    The first block has n/2^(looks-1) positions; each further look doubles the number of examples.
    """
    order = np.random.default_rng(seed).permutation(n)
    stops = [max(1, round(n / 2 ** (looks - 1 - look))) for look in range(looks)]
    return [order[start:stop] for start, stop in zip([0, *stops[:-1]], stops, strict=True) if stop > start]


def race(
    errors: Errors,
    lams: Sequence[float],
    n: int,
    looks: int = 5,
    alpha: float = 0.05,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
    weights: Sequence[float] | None = None,
    settles: bool = True,
) -> Race:
    """Race ``lams`` over ``n`` examples.

    At each look the leader is the λ with the lowest rate so far. Another λ is dropped if the one-sided sign-flip test
    over examples (over ``clusters`` if given) finds it worse than the leader at the level
    ``alpha / (looks · (K - 1))``, where K is the number of λ. The best λ can only be dropped in a comparison that it
    takes part in. There are at most ``looks · (K - 1)`` of these, so it is dropped with a probability of at most
    ``alpha`` (Bonferroni).

    After a quarter and after half of dev a λ is set aside if it would, on all of dev, be significantly better than the
    leader (t > 1.96) with a probability below ``alpha / (2 · (K - 1))``, given what was seen and whatever the true
    difference is. So the probability that one of those set aside would be is at most ``alpha``. It may still be better.

    The race ends when one λ is left or dev is used up. The λ with the lowest rate among those left is chosen. All ties
    go to the smallest λ.

    Args:
        errors: returns errors and lengths of some examples at a λ.
        lams: the candidates.
        n: number of examples.
        looks: number of times that candidates may be dropped.
        alpha: largest probability of dropping the best λ, and of setting aside one that would be significantly better.
        seed: for the order of examples and the test.
        clusters: the cluster of each example.
        weights: the cost of each example, for `Race.work`.
        settles: whether λ are set aside.
    """
    lams = sorted(set(lams))
    alive, level = list(lams), alpha / (looks * max(1, len(lams) - 1))
    draws = math.ceil(DRAWS / level)
    assured = NormalDist().inv_cdf(1 - alpha / (len(SETTLING) * max(1, len(lams) - 1)))
    seen: dict[float, NDArray[np.float64]] = {lam: np.zeros(n) for lam in lams}
    lengths, cost = np.zeros(n, np.int64), np.asarray(weights if weights is not None else np.ones(n))
    member = np.unique(np.arange(n) if clusters is None else np.array(clusters, dtype=str), return_inverse=True)[1]
    path: list[RaceLook] = []
    rates: dict[float, float] = {}
    spent, is_seen = 0.0, np.zeros(n, bool)
    for block in blocks(n, looks, seed):
        for lam in alive:
            seen[lam][block], lengths[block] = errors(lam, block.tolist())
            spent += float(cost[block].sum())
        is_seen[block] = True
        words = max(1, int(lengths[is_seen].sum()))
        rates |= {lam: float(seen[lam][is_seen].sum()) / words for lam in alive}
        leader = min(alive, key=lambda lam: (rates[lam], lam))
        units, share = np.unique(member[is_seen]), float(is_seen.mean())
        is_time = settles and SETTLING[0] <= share < 1
        dropped, settled = dict[float, float](), list[float]()
        for lam in alive:
            if lam == leader:
                continue
            differences = np.bincount(member, (seen[lam] - seen[leader]) * is_seen)[units].astype(np.float64)
            p_value = one_sided_p(differences, draws, seed)
            if p_value < level:
                dropped[lam] = p_value
            elif is_time and _most(differences, share, assured) < TOLD_APART:
                settled.append(lam)
        left = [lam for lam in alive if lam not in dropped]
        alive = [lam for lam in left if lam not in settled]
        path.append(
            RaceLook(
                examples=int(is_seen.sum()),
                leader=leader,
                rates={f"{lam:g}": rates[lam] for lam in (*left, *dropped)},
                dropped={f"{lam:g}": p_value for lam, p_value in dropped.items()},
                settled=[f"{lam:g}" for lam in settled] or None,
            )
        )
        if len(alive) == 1:
            break
    chosen = min(alive, key=lambda lam: (rates[lam], lam))
    return Race(chosen, rates, path, spent / float(cost.sum() * len(lams)))


def _most(differences: NDArray[np.float64], share: float, assured: float) -> float:
    """Return a bound for the t on all of dev by which another λ would be better than the leader.

    Given the t on a share s of dev, z, the one on all of it is about normal with mean z/√s and variance 1/s - 1, if
    nothing else is known of the true difference. Clusters that were seen as a whole would spread less.

    Args:
        differences: errors of the other λ minus those of the leader, of each unit.
        share: s.
        assured: the bound's quantile of the standard normal distribution.
    """
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    z = -float(differences.mean()) / spread * len(differences) ** 0.5 if spread else 0.0
    return float(z / share**0.5 + assured * (1 / share - 1) ** 0.5)
