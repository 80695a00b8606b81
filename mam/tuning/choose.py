"""λ chosen on dev for one run: what is evaluated there, for which folds, and what of it is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mam import processes
from mam.config.learning_checks import PER_LAYER
from mam.config.schema import Config
from mam.errors import ConfigError, DataError
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import Lam, plan_for
from mam.merge.controls import CONTROLS
from mam.tasks import TASKS
from mam.tasks.task import Counted, Row
from mam.tuning.entropy import COLLAPSED, best_look, least_entropy
from mam.tuning.race import race
from mam.tuning.search import SEARCHES, best


@dataclass(frozen=True)
class Choice:
    """``lams`` has the λ chosen for each test fold ("" where there are none); ``record`` goes into `result.json`.

    ``notes`` are sentences for the diagnostics.
    """

    lams: dict[str, Lam]
    record: dict[str, Any]
    notes: list[str] = field(default_factory=list)


class Dev:
    """The merged target on dev, each λ evaluated once. A random control counts as the mean of its draws."""

    def __init__(self, config: Config, bench: Workbench) -> None:
        """Raises DataError where there is no dev."""
        self._bench = bench
        self._config = replace(config, data=replace(config.data, split="dev", fold=None))
        # Of audio events every fold is in one corpus, and what is tested on it is a matter of judging.
        self._read = self._config if config.model.task == "asr" else config
        self.audio, self._task = bench.audio(self._read), TASKS[config.model.task]
        pair = bench.pair(config)
        self._labels = pair.target.labels if pair.target.readout == "scores" else None
        self._baseline: list[Any] | None = None
        self._counted: dict[Lam, Counted] = {}
        self.folds: list[str] = []  # of each counted row, the test fold for which it chooses

    def counted(self, lam: Lam) -> Counted:
        """Errors of every example of dev at this λ."""
        if lam not in self._counted:
            if self._baseline is None:
                self._baseline = self._bench.baseline(self._read, plan_for(self._config, self._bench, lam).first).items
            sides = [self._baseline] if lam == 0 else [self._items(lam, draw) for draw in range(self._draws)]
            rows = [self._judged(items) for items in sides]
            counted = [self._task.counted(self._config, one) for one in rows]
            mean = np.mean([one.errors for one in counted], axis=0)
            self._counted[lam] = replace(counted[0], errors=mean)
            self.folds = self._folds(rows[0])
        return self._counted[lam]

    def rate(self, lam: Lam, fold: str = "") -> float:
        """Error rate at this λ, on what chooses for a test fold."""
        counted = self.counted(lam)
        mine = np.array([name == fold for name in self.folds])
        return float(counted.errors[mine].sum() / max(1, counted.lengths[mine].sum()))

    def some(self, lam: float, positions: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Errors and lengths of some examples at this λ, in the order given."""
        clips = sorted(positions)
        audio = self.audio.subset(clips)
        sides = [self._items(lam, draw, clips) for draw in range(1 if lam == 0 else self._draws)]
        counted = [self._task.counted(self._config, self._task.lines(self._config, audio, one, ())) for one in sides]
        back = [clips.index(i) for i in positions]
        return np.mean([one.errors for one in counted], axis=0)[back], counted[0].lengths[back]

    @property
    def has_folds(self) -> bool:
        """Whether what chooses for one fold is tested in another."""
        return self._config.model.task == "events" and self.audio.corpus.column("fold")[0] is not None

    @property
    def _draws(self) -> int:
        return self._config.control_draws if CONTROLS[self._config.control].is_random else 1

    def _items(self, lam: Lam, draw: int, clips: Sequence[int] | None = None) -> list[Any]:
        plan = plan_for(self._config, self._bench, lam, draw)
        self._bench.pair(self._config).merger.apply(plan)
        return self._bench.predict(self._read, plan.first, f"dev, λ={np.mean(lam):.4g}", clips).items

    def _judged(self, items: Sequence[Any]) -> list[Row]:
        assert self._baseline is not None
        return self._task.judge(self._config, self.audio, items, self._baseline, self._labels).merged

    def _folds(self, rows: Sequence[Row]) -> list[str]:
        """For each row the test fold whose λ it helps to choose: the one before its own."""
        folds = sorted({fold for fold in self.audio.corpus.column("fold") if fold is not None})
        if self._config.model.task == "asr" or not folds:
            return [""] * len(rows)
        if len(folds) < 2:
            raise DataError(
                f"data={self._config.data.name}: has one fold; λ for it is chosen on another. Say data.fold=..."
            )
        before = {fold: folds[place - 1] for place, fold in enumerate(folds)}
        return [str(before[row["fold"]]) for row in rows]


def on_dev(config: Config, bench: Workbench, lam: float) -> dict[str, Any]:
    """The rate on dev as `result.json` has it; without a dev split the rate is null and ``note`` says why."""
    metric = TASKS[config.model.task].metric(config)
    try:
        dev = Dev(config, bench)
        if dev.has_folds:
            raise DataError("what is dev for one fold is tested in another: choose λ fold by fold, with tune=grid")
        counted = dev.counted(lam)
    except DataError as error:
        note = str(error).splitlines()[0]
        return {"metric": metric, "rate": None, "n": 0, "note": note, "data": dev_sha256(config, bench)}
    rate, data = float(counted.errors.sum() / counted.lengths.sum()), dev_sha256(config, bench)
    return {"metric": metric, "rate": rate, "n": len(counted.errors), "note": None, "data": data}


def dev_sha256(config: Config, bench: Workbench) -> str | None:
    """Hash of what is dev now, None where there is none."""
    try:
        return bench.corpus(replace(config, data=replace(config.data, split="dev"))).sha256
    except DataError:
        return None


def choose(config: Config, bench: Workbench, folder: Path) -> Choice:
    """Choose λ on dev as ``config.tune`` says; λ=0 is always among the candidates.

    ``folder`` keeps what a search must not lose when it is killed.

    Raises:
        DataError: there is no dev.
        ConfigError: a search whose library is not installed.
    """
    tune = config.tune
    if tune.name in ("optuna", *PER_LAYER) and processes.count() > 1:
        raise ConfigError(f"tune={tune.name}: several processes would search apart. Say tune=grid, or start one")
    if tune.name == "entropy":
        return _without_labels(config, bench)
    dev = Dev(config, bench)
    if tune.name == "race":
        clusters = None if config.data.clusters == "utterance" else dev.audio.corpus.column(config.data.clusters)
        lams = sorted({0.0, *tune.values})
        ran = race(
            dev.some, lams, len(dev.audio.samples), tune.looks, tune.alpha, config.seed, clusters, dev.audio.seconds
        )
        rates: list[dict[str, Any]] = [
            {"fold": None, "lam": lam, "rate": rate} for lam, rate in sorted(ran.rates.items())
        ]
        return Choice({"": ran.chosen}, _record(tune.name, {"": ran.chosen}, rates, ran.work, ran.path))
    dev.counted(0.0)
    depth, layers = bench.pair(config).target.depth, plan_for(config, bench, 0.0).layers
    chosen: dict[str, Lam] = {}
    tried: list[dict[str, Any]] = []
    for fold in [
        name for name in dict.fromkeys(dev.folds) if config.data.fold is None or name == str(config.data.fold)
    ]:
        seen: dict[Lam, float] = {}

        def rate(lam: Lam, fold: str = fold, seen: dict[Lam, float] = seen) -> float:
            seen[lam] = dev.rate(_of_all(lam, layers, depth), fold)
            return seen[lam]

        rate(0.0)
        place = folder / (fold or "all")
        place.mkdir(parents=True, exist_ok=True)
        seen |= SEARCHES[tune.name](rate, tune, config.seed, place, len(layers))
        chosen[fold] = _of_all(best(seen), layers, depth)
        for lam, of_dev in seen.items():
            tried.append({"fold": fold or None, **_lam(_of_all(lam, layers, depth), layers), "rate": of_dev})
    return Choice(chosen, _record(tune.name, chosen, tried, 1.0, [], layers))


def _without_labels(config: Config, bench: Workbench) -> Choice:
    """A λ for every layer by `least_entropy`; where test itself was listened to the record says so."""
    on_test = config.tune.audio == "test"
    looks = least_entropy(config, bench, replace(config, data=replace(config.data, split=config.tune.audio)))
    layers, chosen = plan_for(config, bench, config.tune.start).layers, best_look(looks)
    tried = [
        {"fold": None, **_lam(one.lams, layers), "entropy": one.entropy, "silenced": one.silenced, "rate": None}
        for one in looks
    ]
    record = _record("entropy", {"": chosen.lams}, tried, 1.0, [], layers) | {"transductive": on_test}
    notes = ["λ was chosen on the test recordings themselves, without their labels: transductive"] if on_test else []
    lost = sum(one.silenced > COLLAPSED for one in looks)
    if lost:
        notes.append(
            f"entropy: {lost} of {len(looks)} looks at λ silenced over {100 * COLLAPSED:.0f} % of what the unmerged"
            " target hears, and were not eligible"
        )
    return Choice({"": chosen.lams}, record, notes)


def _of_all(lam: Lam, layers: Sequence[int], depth: int) -> Lam:
    """One λ for each of the target's layers from one for each merged layer; a single number as it is."""
    if not isinstance(lam, tuple):
        return lam
    by_layer = dict(zip(layers, lam, strict=True))
    return tuple(by_layer.get(layer, 0.0) for layer in range(depth))


def _lam(lam: Lam, layers: Sequence[int]) -> dict[str, Any]:
    """λ for the record: a number, or the mean over merged layers beside all of them."""
    if not isinstance(lam, tuple):
        return {"lam": lam}
    return {"lam": float(np.mean([lam[layer] for layer in layers])), "lams": list(lam)}


def _record(
    name: str,
    chosen: Mapping[str, Lam],
    tried: list[dict[str, Any]],
    work: float,
    path: list[dict[str, Any]],
    layers: Sequence[int] = (),
) -> dict[str, Any]:
    folds = [{"fold": fold or None, **_lam(lam, layers)} for fold, lam in chosen.items()]
    return {"name": name, "chosen": folds, "tried": tried, "work": round(work, 4), "path": path}
