"""Choosing λ on dev for one run: the evaluation there, the folds, and the record of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mam import processes
from mam.config.schema import Config
from mam.config.tuning import TUNINGS
from mam.errors import ConfigError, DataError, MamError
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import Lam, plan_for
from mam.files import own_folder, sha256_json
from mam.merging.several import within_one
from mam.records.learning import ChosenLam, DevRecord, TriedLam, TuneRecord
from mam.tasks import TASKS
from mam.tuning.agreement import by_agreement
from mam.tuning.dev import TRANSDUCTIVE, Choice, Dev
from mam.tuning.entropy import COLLAPSED, best_look, least_entropy
from mam.tuning.known import Known
from mam.tuning.race import race
from mam.tuning.search import SEARCHES, best


def on_dev(config: Config, bench: Workbench) -> DevRecord:
    """Return the rate on dev. Without a dev split it is None and ``note`` gives the reason."""
    metric = TASKS[config.model.task].metric(config)
    try:
        dev = Dev(config, bench)
        if dev.has_folds:
            raise DataError(
                "each fold is dev for one test and tested in another, so λ must be chosen fold by fold. Set tune=grid"
            )
        counted = dev.counted(config.lam)
    except DataError as error:
        return DevRecord(metric, None, 0, str(error).splitlines()[0], bench.dev_sha256(config))
    rate = float(counted.errors.sum() / counted.lengths.sum())
    return DevRecord(metric, rate, len(counted.errors), None, bench.dev_sha256(config))


def choose(config: Config, bench: Workbench, folder: Path) -> Choice:
    """Choose λ on dev as ``config.tune`` specifies. λ=0 is always among the candidates.

    Args:
        config: the configuration of the run.
        bench: shared by all runs.
        folder: holds what a search that was killed has computed (`Known`); a folder in it is the search's own.

    Raises:
        DataError: there is no dev split.
        ConfigError: a search whose library is not installed, or that cannot run in several processes.
        MamError: the folder cannot be written.
    """
    tune = config.tune
    if TUNINGS[tune.name].is_sequential and processes.count() > 1:
        raise ConfigError(f"tune={tune.name}: cannot run in several processes. Set tune=grid, or start one process")
    if tune.name == "entropy":
        return _without_labels(config, bench)
    if tune.name == "agreement":
        return by_agreement(config, Dev(config, bench, tune.audio), Known(folder, bench.terminal.say))
    dev = Dev(config, bench)
    if tune.name == "race":
        return _by_race(config, dev, Known(folder, bench.terminal.say))
    dev.counted(0.0)
    pair = bench.pair(config)
    whole_plan = plan_for(config, pair, 0.0)
    depth, layers = len(whole_plan.lams), whole_plan.layers
    count = len(layers) * len(whole_plan.each)  # of λ, where each layer has its own
    known, folds = Known(folder, bench.terminal.say), list(dict.fromkeys(dev.folds))

    def rates_of(lam: Lam) -> list[float]:
        """Return the rate of every fold: one evaluation serves all of them."""
        whole = _of_all(lam, layers, depth)
        return known.numbers(_name(lam), len(folds), lambda: [dev.rate(whole, fold) for fold in folds])

    chosen: dict[str, Lam] = {}
    tried: list[TriedLam] = []
    for place, fold in enumerate(folds):
        if config.data.fold is not None and fold != str(config.data.fold):
            continue
        rates: dict[Lam, float] = {}

        def rate(lam: Lam, place: int = place, rates: dict[Lam, float] = rates) -> float:
            if not _is_lam(lam, count):
                raise MamError(
                    f"tune={tune.name}: chose λ={lam!r}. It must be a number from 0 to 1, or one number per merged"
                    " layer"
                )
            rates[lam] = rates_of(lam)[place]
            return rates[lam]

        rate(0.0)
        own = own_folder(folder / (fold or "all"))
        rates |= SEARCHES[tune.name](rate, tune, config.seed, own, count)
        chosen[fold] = _of_all(best(rates), layers, depth)
        for lam, on_fold in rates.items():
            mean, lams = _recorded(_of_all(lam, layers, depth), layers, depth)
            tried.append(TriedLam(fold or None, mean, on_fold, lams))
    return Choice(chosen, TuneRecord(tune.name, _chosen(chosen, layers, depth), tried, 1.0, []))


def _by_race(config: Config, dev: Dev, known: Known) -> Choice:
    tune, clusters = config.tune, None

    def some(lam: float, positions: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        n, of = len(positions), f"{_name(lam)} on {sha256_json(list(positions))[:16]}"
        both = known.numbers(of, 2 * n, lambda: np.concatenate(dev.some(lam, positions)).tolist())
        return np.array(both[:n]), np.array(both[n:], np.int64)

    if config.data.clusters != "utterance":
        clusters = dev.audio.corpus.column(config.data.clusters)
    lams = sorted({0.0, *tune.values})
    result = race(some, lams, len(dev.audio.samples), tune.looks, tune.alpha, config.seed, clusters, dev.audio.seconds)
    tried = [TriedLam(None, lam, rate) for lam, rate in sorted(result.rates.items())]
    record = TuneRecord(tune.name, [ChosenLam(None, result.chosen)], tried, round(result.work, 4), result.path)
    return Choice({"": result.chosen}, record)


def _without_labels(config: Config, bench: Workbench) -> Choice:
    """Choose a λ for every layer by `least_entropy`. The record states whether the test recordings were used."""
    on_test = config.tune.audio == "test"
    looks = least_entropy(config, bench, replace(config, data=replace(config.data, split=config.tune.audio)))
    plan = plan_for(config, bench.pair(config), config.tune.start)
    layers, depth = plan.layers, len(plan.lams)
    lams: dict[str, Lam] = {"": best_look(looks).lams}
    tried = []
    for look in looks:
        mean, by_layer = _recorded(look.lams, layers, depth)
        tried.append(TriedLam(None, mean, None, by_layer, look.entropy, look.silenced))
    notes = [TRANSDUCTIVE] if on_test else []
    lost = sum(look.silenced > COLLAPSED for look in looks)
    if lost:
        notes.append(
            f"entropy: in {lost} of {len(looks)} steps, more than {100 * COLLAPSED:.0f} % of what the unmerged target"
            " recognises was lost; their λ were excluded"
        )
    return Choice(
        lams, TuneRecord("entropy", _chosen(lams, layers, depth), tried, 1.0, [], transductive=on_test), notes
    )


def _is_lam(lam: object, count: int) -> bool:
    """Return whether a search asks for something that can be merged: λ from 0 to 1, or one for each merged layer."""
    lams = lam if isinstance(lam, tuple) and len(lam) == count else (lam,)
    return all(isinstance(value, int | float) and 0 <= value <= 1 for value in lams)


def _name(lam: Lam) -> str:
    return json.dumps([float(value) for value in lam] if isinstance(lam, tuple) else float(lam))


def _of_all(lam: Lam, layers: Sequence[int], depth: int) -> Lam:
    """Return one λ per target layer from one per merged layer; a single number is returned unchanged.

    Of several sources there is one for each in turn; where they add up to more than 1 they are scaled down.
    """
    if not isinstance(lam, tuple):
        return lam
    count, lams = len(layers), within_one(lam, len(layers))
    sources = [dict(zip(layers, lams[first : first + count], strict=True)) for first in range(0, len(lams), count)]
    return tuple(by_layer.get(layer, 0.0) for by_layer in sources for layer in range(depth))


def _recorded(lam: Lam, layers: Sequence[int], depth: int) -> tuple[float, list[float] | None]:
    """Return λ for the record: the number, or the mean over merged layers with all values."""
    if not isinstance(lam, tuple):
        return lam, None
    return float(np.mean([sum(lam[layer::depth]) for layer in layers])), list(lam)


def _chosen(lams: Mapping[str, Lam], layers: Sequence[int], depth: int) -> list[ChosenLam]:
    return [ChosenLam(fold or None, *_recorded(lam, layers, depth)) for fold, lam in lams.items()]
