"""One flat row for every finished run, for tables and programs; this module imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from mam.errors import MamError
from mam.records.reading import LOG, RESULT, read_result
from mam.records.result import RunResult
from mam.records.text import layers_text
from mam.report.found import Found, find_runs
from mam.small_files import LARGE, open_regular

STAMP = len("2026-01-31 23:59:59")


@dataclass(frozen=True)
class RunRow:
    """A finished run in one row.

    Attributes:
        folder: The folder of the run, below the folder that was searched.
        when: The local time at which it started; if its log is missing, at which its result was written.
        model: The name of the pair, as are ``target`` and ``source`` hub ids or folders.
        n: Number of examples.
        language: Language of the references; None where it is unknown or of no effect.
        metric: The compared metric: wer, cer or error. ``rate``, ``baseline``, ``delta``, ``dev_rate`` and the
            interval's ends are fractions in it; negative differences are better.
        lam: λ of the merged layers; None where layers or folds differ.
        lam_mean: Mean λ of the merged layers, and of folds.
        schedule: Dependence of λ on depth; None in results of older versions.
        layers: The merged layers, such as ``0-3 of 4``.
        train: The training, or none. ``tune`` is the search for λ, or none.
        seed: Seed of the test, of random controls and of the training.
        ci_low: Lower end of the 95 % interval of ``delta``; None if no unit changed, or all changed alike.
        units: Number of units of the test. ``unit`` is the name of one.
        changed: Units whose number of errors differs; None in results of older versions, as are ``better`` and
            ``worse``.
        dev_rate: The rate on dev; None if it was not evaluated.
        hash: The hash of the question, equal for repetitions of a run.
        command: The command that makes the run again.
    """

    folder: str
    when: datetime
    model: str
    target: str
    source: str
    data: str
    split: str
    n: int
    language: str | None
    task: str
    metric: str
    lam: float | None
    lam_mean: float
    schedule: str | None
    layers: str
    parts: str
    method: str
    align: str
    control: str
    pairing: str
    train: str
    tune: str
    seed: int
    rate: float
    baseline: float
    delta: float
    ci_low: float | None
    ci_high: float | None
    p_value: float
    units: int
    unit: str
    changed: int | None
    better: int | None
    worse: int | None
    dev_rate: float | None
    hash: str
    command: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values; ``when`` is text in ISO 8601."""
        return asdict(self) | {"when": self.when.isoformat()}


def found_rows(folders: Sequence[Path]) -> Found[RunRow]:
    """Return a row for every readable finished run below the folders, the newest first, and the unusable folders.

    Raises:
        RecordError: a folder that does not exist.
    """
    found = find_runs(folders, _read_row)
    by_time = sorted(found.runs, key=lambda row: row.when)  # equal times stay in the order of their results
    return Found(by_time[::-1], found.unfinished, found.broken)


def _read_row(folder: Path) -> RunRow:
    result = read_result(folder)
    merge, data, delta = result.merge, result.data, result.delta
    lams = [merge.lam[layer] for layer in merge.merged_layers]
    low, high = delta.ci95 or (None, None)
    return RunRow(
        folder=str(folder),
        when=_started(folder),
        model=result.model.name,
        target=result.model.target.id,
        source=" + ".join(record.id for record in result.model.sources),
        data=data.name,
        split=data.split,
        n=data.n,
        language=data.language,
        task=result.task,
        metric=result.metric,
        lam=lams[0] if len(set(lams)) == 1 and not result.is_by_fold else None,
        lam_mean=fmean(lams),
        schedule=None if merge.asked is None else merge.asked.schedule.name,
        layers=layers_text(merge).removeprefix("layers "),
        parts=merge.parts,
        method=merge.method,
        align=merge.align,
        control=merge.control,
        pairing=merge.pairing,
        train="none" if result.train is None else result.train.name,
        tune="none" if result.tune is None else result.tune.name,
        seed=_seed(result),
        rate=result.rate,
        baseline=result.baseline_rate,
        delta=delta.absolute,
        ci_low=low,
        ci_high=high,
        p_value=delta.p_value,
        units=delta.clusters,
        unit=delta.unit,
        changed=delta.changed,
        better=delta.better,
        worse=delta.worse,
        dev_rate=result.dev_rate,
        hash=result.hash,
        command=result.command,
    )


def _seed(result: RunResult) -> int:
    seeds = result.seeds
    return next(seed for seed in (seeds.training, seeds.control, seeds.bootstrap) if seed is not None)


def _started(folder: Path) -> datetime:
    """Return the time of the log's first line, which a copied folder keeps; without a log, that of the result."""
    try:
        with open_regular(folder / LOG, LARGE) as file:
            return datetime.strptime(file.readline(STAMP).decode(), "%Y-%m-%d %H:%M:%S")
    except (MamError, OSError, ValueError):
        return datetime.fromtimestamp((folder / RESULT).stat().st_mtime).replace(microsecond=0)
