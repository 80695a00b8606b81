"""Racing: all λ run on a growing part of dev, and those that are shown worse than the leader stop early.

After Maron & Moore 1994 (Hoeffding races) and Moore & Lee 1994 (blocking: candidates are compared on the same
examples), with the sign-flip test in place of their bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mam.records.learning import RaceLook
from mam.scoring.sign_flip import one_sided_p

TOLD_APART = 1.96  # t from which on a difference is significant at 5 %
DRAWS = 20  # random assignments of signs for one that is as extreme as the level of a look asks for

# (λ, positions in dev) -> errors of these examples, and their lengths, each [n]
Errors = Callable[[float, Sequence[int]], tuple[NDArray[np.float64], NDArray[np.int64]]]


@dataclass(frozen=True)
class Race:
    """How a race went: ``chosen``; rates on what each λ has seen; ``path``, a look at a time; ``work``, the share of
    the grid's evaluations that was done (weighted by ``weights``, such as seconds)."""

    chosen: float
    rates: dict[float, float]
    path: list[RaceLook]
    work: float


def blocks(n: int, looks: int, seed: int) -> list[NDArray[np.int64]]:
    """Positions of dev in random order, cut where each look begins: n/2^(looks-1) first, then doubled each time."""
    order = np.random.default_rng(seed).permutation(n)
    ends = [max(1, round(n / 2 ** (looks - 1 - look))) for look in range(looks)]
    return [order[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True) if end > start]


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

    At each look the leader is the λ with the fewest errors so far (ties: the smallest). Another λ is dropped when the
    one-sided sign-flip test over examples (over ``clusters``, where there are any) finds it worse than the leader, at
    the level ``alpha / (looks · (K - 1))``. Whichever λ is the best: it can only be dropped in one of these
    comparisons, of which there are no more than looks · (K - 1) with it, so that it is dropped with a probability of at
    most ``alpha`` (Bonferroni). The race ends when one is left or dev is over, and with
    ``settles``, from a quarter of dev on, when none of those left could be told from the leader: when the differences
    seen so far, if they lasted, would not be significant at 5 % on all of dev. Of those left the one with the lowest
    rate is chosen, of equal ones the smallest λ.
    """
    lams = sorted(set(lams))
    alive, level = list(lams), alpha / (looks * max(1, len(lams) - 1))
    draws = math.ceil(DRAWS / level)
    seen: dict[float, NDArray[np.float64]] = {lam: np.zeros(n) for lam in lams}
    lengths, cost = np.zeros(n, np.int64), np.asarray(weights if weights is not None else np.ones(n))
    member = np.unique(np.arange(n) if clusters is None else np.array(clusters, dtype=str), return_inverse=True)[1]
    path: list[RaceLook] = []
    rates: dict[float, float] = {}
    spent, done = 0.0, np.zeros(n, bool)
    for block in blocks(n, looks, seed):
        for lam in alive:
            seen[lam][block], lengths[block] = errors(lam, block.tolist())
            spent += float(cost[block].sum())
        done[block] = True
        words = max(1, int(lengths[done].sum()))
        rates |= {lam: float(seen[lam][done].sum()) / words for lam in alive}
        leader = min(alive, key=lambda lam: (rates[lam], lam))
        units, whole = np.unique(member[done]), int(member.max()) + 1
        dropped, apart = {}, []
        for lam in alive:
            differences = np.bincount(member, (seen[lam] - seen[leader]) * done)[units].astype(np.float64)
            p_value = one_sided_p(differences, draws, seed)
            if lam != leader and p_value < level:
                dropped[lam] = p_value
            elif lam != leader:
                apart.append(_reach(differences, whole))
        alive = [lam for lam in alive if lam not in dropped]
        path.append(
            RaceLook(
                examples=int(done.sum()),
                leader=leader,
                rates={f"{lam:g}": rates[lam] for lam in (*alive, *dropped)},
                dropped={f"{lam:g}": p_value for lam, p_value in dropped.items()},
            )
        )
        is_settled = settles and 4 * len(units) >= whole and all(reach < TOLD_APART for reach in apart)
        if len(alive) == 1 or is_settled:
            break
    chosen = min(alive, key=lambda lam: (rates[lam], lam))
    return Race(chosen, rates, path, spent / float(cost.sum() * len(lams)))


def _reach(differences: NDArray[np.float64], units: int) -> float:
    """t that the mean difference would have over so many units, if mean and spread stayed as they are."""
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    mean = float(differences.mean())
    return mean / spread * units**0.5 if spread else (0.0 if mean <= 0 else float("inf"))
