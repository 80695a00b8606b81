"""Searches for λ without models: a rate that is a formula, evaluated as a run does, and the files that are left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mam.config.tuning import TuneConfig
from mam.tuning.known import Known
from mam.tuning.search import SEARCHES

SETTINGS = {
    "grid": {"values": [0, 0.1, 0.3, 0.5]},
    "golden": {"low": 0, "high": 0.5, "evaluations": 8},
    "optuna": {"low": 0, "high": 0.5, "evaluations": 13},
    "cmaes": {"low": 0, "high": 0.5, "start": 0.05, "evaluations": 16},
}


def bowl(lams) -> float:
    """Lowest at 0.1, 0.2, 0.3."""
    return float(sum((lam - 0.1 * (i + 1)) ** 2 for i, lam in enumerate(np.atleast_1d(lams))))


def tried_by(
    name: str,
    rate: Callable[..., float],
    folder: Path,
    seed: int = 0,
    layers: int = 1,
    say: Callable[[str], None] = print,
    **settings: object,
) -> dict[object, float]:
    """The rates by λ in the order in which a search asks for them; what ``folder`` knows is not evaluated."""
    known, seen = Known(folder, say), {}

    def asked(lam):
        seen[lam] = known.numbers(json.dumps(lam), 1, lambda: [rate(lam)])[0]
        return seen[lam]

    assert SEARCHES[name](asked, TuneConfig(name=name, **settings), seed, folder, layers) == {} or name == "grid"
    return seen
