"""Choosing λ on dev for one run: the evaluation there, the folds, and the record of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mam import processes
from mam.config.schema import Config
from mam.config.tuning import TUNINGS
from mam.errors import ConfigError, DataError, MamError
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import Lam, plan_for
from mam.files import own_folder, sha256_json
from mam.merging.plan import MergePlan
from mam.records.learning import ChosenLam, DevRecord, TriedLam, TuneRecord
from mam.records.reading import PredictionRow
from mam.tasks import TASKS
from mam.tasks.task import ErrorCounts
from mam.tuning.entropy import COLLAPSED, best_look, least_entropy
from mam.tuning.known import Known
from mam.tuning.race import race
from mam.tuning.search import SEARCHES, best


@dataclass(frozen=True)
class Choice:
    """A choice of λ: ``lams`` by test fold ("" if there are none), and ``notes`` for the diagnostics."""

    lams: dict[str, Lam]
    record: TuneRecord
    notes: list[str] = field(default_factory=list)


class Dev:
    """The merged target on dev, evaluated once per λ. A random control counts as the mean of its draws."""

    def __init__(self, config: Config, bench: Workbench) -> None:
        """Raise DataError if there is no dev split."""
        self._bench = bench
        self._config = replace(config, data=replace(config.data, split="dev", fold=None))
        # Audio events have all folds in one corpus; which of them are scored is decided when judging.
        self._read = self._config if config.model.task == "asr" else config
        self.audio, self._task = bench.audio(self._read), TASKS[config.model.task]
        self._pair = bench.pair(config)
        self._labels = self._pair.target.labels if self._pair.target.readout == "scores" else None
        self._baseline: list[Any] | None = None
        self._counted: dict[Lam, ErrorCounts] = {}
        self.folds: list[str] = []  # the test fold that each counted row chooses λ for

    def counted(self, lam: Lam) -> ErrorCounts:
        """Return the errors of every example of dev at this λ."""
        if lam not in self._counted:
            plan = plan_for(self._config, self._pair, lam)
            if self._baseline is None:
                self._baseline = self._bench.baseline(self._read, plan.first).items
            sides = [self._baseline] if plan.is_identity else self._draws_of(plan)
            rows = [self._judged(items) for items in sides]
            counted = [self._task.counted(self._config, predictions) for predictions in rows]
            mean = np.mean([counts.errors for counts in counted], axis=0)
            self._counted[lam] = replace(counted[0], errors=mean)
            self.folds = self._folds(rows[0])
        return self._counted[lam]

    def rate(self, lam: Lam, fold: str = "") -> float:
        """Return the error rate at this λ over the examples that choose for a test fold."""
        counted = self.counted(lam)
        mine = np.array([name == fold for name in self.folds])
        return float(counted.errors[mine].sum() / max(1, counted.lengths[mine].sum()))

    def some(self, lam: float, positions: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return errors and lengths of some examples at this λ, in the order given."""
        clips = sorted(positions)
        audio = self.audio.subset(clips)
        sides = self._draws_of(plan_for(self._config, self._pair, lam), clips)
        rows = [self._task.lines(self._config, audio, items, ()) for items in sides]
        counted = [self._task.counted(self._config, predictions) for predictions in rows]
        order = [clips.index(i) for i in positions]
        return np.mean([counts.errors for counts in counted], axis=0)[order], counted[0].lengths[order]

    @property
    def has_folds(self) -> bool:
        """True if dev of one fold is the test set of another."""
        return self._config.model.task == "events" and self.audio.corpus.column("fold")[0] is not None

    def _draws_of(self, plan: MergePlan, clips: Sequence[int] | None = None) -> list[list[Any]]:
        """Return the readings of the target merged as planned, once per draw of a random control."""
        sides = []
        for draw in range(plan.draws):
            self._bench.pair(self._config).merger.apply(plan.drawn(draw))
            label = f"dev, λ={np.mean([plan.lams[layer] for layer in plan.layers]):.4g}"
            sides.append(self._bench.predict(self._read, plan.first, label, clips).items)
        return sides

    def _judged(self, items: Sequence[Any]) -> list[PredictionRow]:
        assert self._baseline is not None
        return self._task.judge(self._config, self.audio, items, self._baseline, self._labels).merged

    def _folds(self, rows: Sequence[PredictionRow]) -> list[str]:
        """Return for each row the test fold whose λ it helps to choose: the one before its own."""
        folds = sorted({fold for fold in self.audio.corpus.column("fold") if fold is not None})
        if self._config.model.task == "asr" or not folds:
            return [""] * len(rows)
        if len(folds) < 2:
            raise DataError(
                f"data={self._config.data.name}: has one fold; λ for it is chosen on another. Say data.fold=..."
            )
        before = {fold: folds[place - 1] for place, fold in enumerate(folds)}
        return [str(before[row["fold"]]) for row in rows]


def on_dev(config: Config, bench: Workbench) -> DevRecord:
    """Return the rate on dev. Without a dev split it is None and ``note`` gives the reason."""
    metric = TASKS[config.model.task].metric(config)
    try:
        dev = Dev(config, bench)
        if dev.has_folds:
            raise DataError("what is dev for one fold is tested in another: choose λ fold by fold, with tune=grid")
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
        raise ConfigError(f"tune={tune.name}: several processes would search apart. Say tune=grid, or start one")
    if tune.name == "entropy":
        return _without_labels(config, bench)
    dev = Dev(config, bench)
    if tune.name == "race":
        return _by_race(config, dev, Known(folder, bench.terminal.say))
    dev.counted(0.0)
    pair = bench.pair(config)
    depth, layers = pair.target.depth, plan_for(config, pair, 0.0).layers
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
            if not _is_lam(lam, len(layers)):
                raise MamError(f"tune={tune.name}: asks for λ={lam!r}, not a number from 0 to 1 or one a merged layer")
            rates[lam] = rates_of(lam)[place]
            return rates[lam]

        rate(0.0)
        own = own_folder(folder / (fold or "all"))
        rates |= SEARCHES[tune.name](rate, tune, config.seed, own, len(layers))
        chosen[fold] = _of_all(best(rates), layers, depth)
        for lam, on_fold in rates.items():
            mean, lams = _recorded(_of_all(lam, layers, depth), layers)
            tried.append(TriedLam(fold or None, mean, on_fold, lams))
    return Choice(chosen, TuneRecord(tune.name, _chosen(chosen, layers), tried, 1.0, []))


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
    layers = plan_for(config, bench.pair(config), config.tune.start).layers
    lams: dict[str, Lam] = {"": best_look(looks).lams}
    tried = []
    for look in looks:
        mean, by_layer = _recorded(look.lams, layers)
        tried.append(TriedLam(None, mean, None, by_layer, look.entropy, look.silenced))
    notes = ["λ was chosen on the test recordings themselves, without their labels: transductive"] if on_test else []
    lost = sum(look.silenced > COLLAPSED for look in looks)
    if lost:
        notes.append(
            f"entropy: {lost} of {len(looks)} looks at λ silenced over {100 * COLLAPSED:.0f} % of what the unmerged"
            " target hears, and were not eligible"
        )
    return Choice(lams, TuneRecord("entropy", _chosen(lams, layers), tried, 1.0, [], transductive=on_test), notes)


def _is_lam(lam: object, layers: int) -> bool:
    """Return whether a search asks for something that can be merged: λ from 0 to 1, or one for each merged layer."""
    lams = lam if isinstance(lam, tuple) and len(lam) == layers else (lam,)
    return all(isinstance(value, int | float) and 0 <= value <= 1 for value in lams)


def _name(lam: Lam) -> str:
    return json.dumps([float(value) for value in lam] if isinstance(lam, tuple) else float(lam))


def _of_all(lam: Lam, layers: Sequence[int], depth: int) -> Lam:
    """Return one λ per target layer from one per merged layer; a single number is returned unchanged."""
    if not isinstance(lam, tuple):
        return lam
    by_layer = dict(zip(layers, lam, strict=True))
    return tuple(by_layer.get(layer, 0.0) for layer in range(depth))


def _recorded(lam: Lam, layers: Sequence[int]) -> tuple[float, list[float] | None]:
    """Return λ for the record: the number, or the mean over merged layers with all values."""
    if not isinstance(lam, tuple):
        return lam, None
    return float(np.mean([lam[layer] for layer in layers])), list(lam)


def _chosen(lams: Mapping[str, Lam], layers: Sequence[int]) -> list[ChosenLam]:
    return [ChosenLam(fold or None, *_recorded(lam, layers)) for fold, lam in lams.items()]
