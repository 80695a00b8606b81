"""The merged target on the recordings that λ is chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mam.config.schema import Config
from mam.errors import DataError
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import Lam, plan_for
from mam.merging.plan import MergePlan
from mam.records.learning import TuneRecord
from mam.records.reading import PredictionRow
from mam.tasks import TASKS
from mam.tasks.task import ErrorCounts


@dataclass(frozen=True)
class Choice:
    """A choice of λ: ``lams`` by test fold ("" if there are none), and ``notes`` for the diagnostics."""

    lams: dict[str, Lam]
    record: TuneRecord
    notes: list[str] = field(default_factory=list)


class Dev:
    """The merged target on dev, evaluated once per λ. A random control counts as the mean of its draws."""

    def __init__(self, config: Config, bench: Workbench, split: str = "dev") -> None:
        """Raise DataError if there is no such split."""
        self._bench = bench
        self._config = replace(config, data=replace(config.data, split=split, fold=None))
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
            rows = self.rows(lam)
            counted = [self._task.counted(self._config, predictions) for predictions in rows]
            mean = np.mean([counts.errors for counts in counted], axis=0)
            self._counted[lam] = replace(counted[0], errors=mean)
            self.folds = self._folds(rows[0])
        return self._counted[lam]

    def rows(self, lam: Lam) -> list[list[PredictionRow]]:
        """Return the predictions at this λ, for each draw of a random control."""
        plan = plan_for(self._config, self._pair, lam)
        if self._baseline is None:
            self._baseline = self._bench.baseline(self._read, plan.first).items
        sides = [self._baseline] if plan.is_identity else self._draws_of(plan)
        return [self._judged(items) for items in sides]

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
                f"data={self._config.data.name}: has only one fold, but λ must be chosen on another. Set data.fold=..."
            )
        before = {fold: folds[place - 1] for place, fold in enumerate(folds)}
        return [str(before[row["fold"]]) for row in rows]


TRANSDUCTIVE = "λ was chosen on the test recordings themselves, without their labels (transductive)"
