"""Scoring saved predictions again with another normalizer or seed, without a model. Nothing is overwritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mam.errors import RecordError
from mam.files import write_json
from mam.identity import code_record
from mam.records.parts import Rescoring
from mam.records.reading import read_config, read_predictions, read_result
from mam.records.result import RunResult, plain
from mam.runs.record import score


def rescore(folder: Path, normalizer: str | None, seed: str | None) -> tuple[RunResult, Path]:
    """Score the finished run in ``folder`` again; arguments that are None keep the run's values.

    Returns:
        The result with new metrics, and the file it was written to: ``score-<normalizer>-seed<seed>.json``, or
        ``score-seed<seed>.json`` for audio events.

    Raises:
        RecordError: not a finished run, its files do not belong together, or the new file exists already.
        ConfigError: an unknown normalizer, or a seed that is not a number.
    """
    result = read_result(folder)
    merged, baseline = read_predictions(folder)
    config = read_config(folder, {"data.normalizer": normalizer, "seed": seed})
    scoring = score(merged, baseline, config, result.remarks, result.baseline.kind)
    result = replace(
        result,
        metrics=scoring.metrics,
        baseline=scoring.baseline,
        delta=scoring.delta,
        diagnostics=scoring.diagnostics,
        groups=scoring.groups,
        seeds=replace(result.seeds, bootstrap=config.seed),
        scored=Rescoring(code_record()),
    )
    name = f"score-seed{config.seed}.json"
    if result.task == "asr":
        result = replace(result, data=replace(result.data, normalizer=config.data.normalizer))
        name = f"score-{config.data.normalizer}-seed{config.seed}.json"
    path = folder / name
    if path.exists():
        raise RecordError(
            f"{path}: is there already. The same code makes the same numbers of the same predictions; delete it to"
            " score again."
        )
    write_json(path, plain(result))
    return result, path
