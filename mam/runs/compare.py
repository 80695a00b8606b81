"""Two finished runs over the same examples: the paired difference, and the examples that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mam.config.schema import Config
from mam.errors import RecordError
from mam.records.parts import Metric
from mam.records.reading import TRUTH, PredictionRow, read_config, read_predictions, read_result
from mam.records.result import RunResult
from mam.scoring.significance import Difference
from mam.tasks import TASKS
from mam.tasks.task import ErrorCounts, paired


@dataclass(frozen=True)
class ChangedExample:
    """An example with different predictions in two runs, and the errors of each."""

    id: str
    reference: str
    first: str
    second: str
    errors: tuple[float, float]

    @property
    def change(self) -> float:
        """Number of errors that the second run has more than the first."""
        return self.errors[1] - self.errors[0]


@dataclass(frozen=True)
class RunComparison:
    """Two runs and their rates, averaged over draws of a random control.

    ``difference`` is the second minus the first.
    """

    metric: Metric
    rates: tuple[float, float]
    difference: Difference
    changed: list[ChangedExample]
    n: int
    normalizer: str | None
    language: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Side:
    """One of the runs; ``draws`` has its predictions by id, one dict per draw of a random control."""

    folder: Path
    result: RunResult
    config: Config
    draws: list[dict[str, PredictionRow]]

    @property
    def truth(self) -> dict[str, str]:
        """Reference or label of each example."""
        return {name: row[TRUTH[self.result.task]] for name, row in self.draws[0].items()}

    def counted(self, config: Config, order: Sequence[str]) -> list[ErrorCounts]:
        """Return the errors of each draw, with the examples in this order."""
        task = TASKS[self.result.task]
        return [task.counted(config, [rows[name] for name in order]) for rows in self.draws]


def compare(first: Path, second: Path) -> RunComparison:
    """Compare two runs, paired by example.

    Raises:
        RecordError: not finished, or with different tasks, examples or ways of scoring. The message names the first
            difference.
    """
    a, b = _read(first), _read(second)
    _refuse_incomparable(a, b)
    _refuse_other_examples(a, b)
    order = list(a.draws[0])
    counts = [side.counted(a.config, order) for side in (a, b)]
    errors = [np.mean([draw.errors for draw in draws], axis=0) for draws in counts]  # [n] of each side
    by_id = dict(zip(order, zip(*(side.tolist() for side in errors), strict=True), strict=True))
    total = int(counts[0][0].lengths.sum())
    codes = {a.result.code, b.result.code}
    notes = (
        ()
        if len(codes) == 1
        else ("the two runs used different versions of mam's code, which may explain part of the difference",)
    )
    return RunComparison(
        metric=a.result.metric,
        rates=(float(errors[0].sum() / total), float(errors[1].sum() / total)),
        difference=paired(a.config, counts[1], counts[0]),
        changed=_changed(a, b, by_id),
        n=len(order),
        normalizer=a.result.data.normalizer,
        language=a.result.data.language,
        notes=notes,
    )


def _read(folder: Path) -> _Side:
    draws, _ = read_predictions(folder)
    by_id = [{row["id"]: row for row in rows} for rows in draws]
    return _Side(folder, read_result(folder), read_config(folder), by_id)


def _changed(a: _Side, b: _Side, errors: Mapping[str, tuple[float, float]]) -> list[ChangedExample]:
    """Return the examples with different predictions, the largest change of errors first.

    For random controls the first draw is used.
    """
    changed = []
    for name, truth in a.truth.items():
        texts = [side.draws[0][name]["prediction"] for side in (a, b)]
        if texts[0] != texts[1]:
            changed.append(ChangedExample(name, truth, texts[0], texts[1], errors[name]))
    return sorted(changed, key=lambda example: (-abs(example.change), example.id))


def _refuse_incomparable(a: _Side, b: _Side) -> None:
    """Raise RecordError if the two are scored differently. Older results have no language, and no metric either."""
    is_old = any(side.result.data.metric is None for side in (a, b))
    for what in ("task", "normalizer", "metric", "language", "clusters"):
        values = [_trait(side, what) for side in (a, b)]
        if values[0] != values[1] and not (what == "language" and is_old):
            remedy = "" if what == "task" else f" Run one again with the other's data.{what}."
            raise RecordError(f"{a.folder} and {b.folder}: their {what} differs, {values[0]} and {values[1]}.{remedy}")


def _trait(side: _Side, what: str) -> str | None:
    result = side.result
    traits: dict[str, str | None] = {
        "task": result.task,
        "normalizer": result.data.normalizer,
        "metric": result.metric,
        "language": result.data.language,
        "clusters": side.config.data.clusters,
    }
    return traits[what]


def _refuse_other_examples(a: _Side, b: _Side) -> None:
    first, second = a.truth, b.truth
    if first == second:
        return
    for names in (sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys())):
        if names:
            what = (
                f"their examples differ ({len(first)} and {len(second)}); for example, only one of them has"
                f" {names[0]!r}"
            )
            break
    else:
        name = next(name for name in first if first[name] != second[name])
        key = TRUTH[a.result.task]
        what = f"the {key} of {name!r} differs: {first[name][:40]!r} and {second[name][:40]!r}"
    raise RecordError(f"{a.folder} and {b.folder}: {what}. Compare runs on the same examples.")
