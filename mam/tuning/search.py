"""Searches for the λ with the lowest rate on dev. They are pure: the caller provides the function that evaluates λ.

Rates are fractions. `best` chooses among all rates and λ=0. λ is one number for all layers, or a tuple with one per
merged layer. A search proposes λ from its seed and earlier rates alone, so that it is resumed by being replayed: the
caller's function returns at once what is known from before (`mam.tuning.known`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from mam.config.tuning import TUNINGS, TuneConfig, TunerTraits
from mam.errors import ConfigError, choices
from mam.evaluation.zero_shot import Lam
from mam.merging.tables import summary_of
from mam.registry import refuse_bare, register

Rate = Callable[[Lam], float]
Tried = dict[Lam, float]
Search = Callable[[Rate, TuneConfig, int, Path, int], Tried]
SEARCHES: dict[str, Search] = {}


def tuner(
    reads: Sequence[str] = (), is_per_layer: bool = False, is_sequential: bool = True
) -> Callable[[Search], Search]:
    """Register a search for λ under its own name; see `TunerTraits`.

    The function takes (rate, settings, seed, folder, number of merged layers) and returns the rates by λ that it knows
    beyond those it evaluated with ``rate``. After a kill it is called again, and ``rate`` returns what was evaluated
    before without evaluating it; a search that proposes λ from seed and rates alone needs nothing else to resume. The
    folder is empty or as the killed search left it. The traits of mam's own searches are in `mam.config.tuning`;
    plug-ins pass theirs here.
    """

    refuse_bare("tuner", reads)
    unknown = set(reads) - {option.name for option in fields(TuneConfig)}
    if unknown:
        raise ConfigError(f"tuner: {choices(list(unknown))} in reads= are not keys of tune")

    def add(function: Search) -> Search:
        traits = TunerTraits(summary_of(function), tuple(reads), is_per_layer, is_sequential)
        register(
            "tune",
            function.__name__,
            function,
            (TUNINGS, traits),
            (SEARCHES, function),
            takes="rate, settings, seed, folder, layers",
        )
        return function

    return add


def best(tried: Mapping[Lam, float]) -> Lam:
    """Return the λ with the lowest rate. Ties go to the smallest λ; tuples are compared by their mean."""
    return min(tried, key=lambda lam: (tried[lam], np.mean(lam), np.atleast_1d(lam).tolist()))


@tuner()
def grid(rate: Rate, settings: TuneConfig, seed: int, folder: Path, layers: int) -> Tried:
    """Evaluate every one of ``values`` on all of dev."""
    return {lam: rate(lam) for lam in sorted(set(settings.values))}


@tuner()
def golden(rate: Rate, settings: TuneConfig, seed: int, folder: Path, layers: int) -> Tried:
    """Search between ``low`` and ``high`` by golden section (Kiefer 1953), for a rate with one valley."""
    shrink = (math.sqrt(5) - 1) / 2
    low, high = settings.low, settings.high

    def at(share: float) -> tuple[float, float]:
        lam = low + share * (high - low)
        return lam, rate(round(lam, 4))

    (left, at_left), (right, at_right) = at(1 - shrink), at(shrink)
    for _ in range(settings.evaluations - 2):
        if at_left <= at_right:  # ties go to the smaller λ
            high, right, at_right = right, left, at_left
            left, at_left = at(1 - shrink)
        else:
            low, left, at_left = left, right, at_right
            right, at_right = at(shrink)
    return {}


@tuner()
def optuna(rate: Rate, settings: TuneConfig, seed: int, folder: Path, layers: int) -> Tried:
    """Search with Optuna's tree-structured Parzen estimator."""
    try:
        import optuna as engine
    except ImportError as error:
        raise ConfigError("tune=optuna: is not installed. Install it: pip install 'mam-bench[tune]'") from error
    engine.logging.set_verbosity(engine.logging.WARNING)
    study = engine.create_study(direction="minimize", sampler=engine.samplers.TPESampler(seed=seed % 2**32))
    for _ in range(settings.evaluations):
        trial = study.ask()
        study.tell(trial, rate(round(trial.suggest_float("lam", settings.low, settings.high), 4)))
    return {}


@tuner()
def cmaes(rate: Rate, settings: TuneConfig, seed: int, folder: Path, layers: int) -> Tried:
    """Search for a λ per layer by CMA-ES (Hansen & Ostermeier 2001), starting from ``start`` in all of them."""
    try:
        from cmaes import CMA
    except ImportError as error:
        raise ConfigError("tune=cmaes: is not installed. Install it: pip install 'mam-bench[tune]'") from error
    if layers < 2:
        raise ConfigError(
            "tune=cmaes: only one layer is merged, so there is only one λ. Set tune=golden, or select more layers"
        )
    bounds = np.tile([[settings.low, settings.high]], (layers, 1))
    # Steps of a fifth of the range cover all of it even from a start near its end.
    optimizer = CMA(np.full(layers, settings.start), (settings.high - settings.low) / 5, bounds, seed=seed % 2**32)
    for evaluated in range(0, settings.evaluations, optimizer.population_size):
        generation = []
        for _ in range(min(optimizer.population_size, settings.evaluations - evaluated)):
            proposal = optimizer.ask()
            lams = tuple(round(float(lam), 4) for lam in proposal)
            generation.append((proposal, rate(lams)))
        if len(generation) == optimizer.population_size:
            optimizer.tell(generation)
    return {}
