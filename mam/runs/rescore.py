"""Metrics again from saved predictions: another normalizer, another seed, no model. Written beside, never over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mam.errors import RecordError
from mam.files import write_json
from mam.identity import code_record
from mam.records.reading import read_config, read_predictions, read_result
from mam.runs.record import scores
from mam.tasks import TASKS


def rescore(folder: Path, normalizer: str | None, seed: str | None) -> tuple[dict[str, Any], Path]:
    """Score the finished run in ``folder`` again; what is None stays as it was.

    Returns:
        The result with new metrics, and the file it was written to: ``score-<normalizer>-seed<seed>.json``, of audio
        events ``score-seed<seed>.json``.

    Raises:
        RecordError: not a finished run, or its files do not belong together.
        ConfigError: an unknown normalizer, or a seed that is not a number.
    """
    result = read_result(folder)
    task = TASKS[result["task"]]
    merged, baseline = read_predictions(folder, task.REQUIRED)
    config = read_config(folder, {"data.normalizer": normalizer, "seed": seed})
    result |= scores(merged, baseline, config, result.get("remarks", ()), result["baseline"]["kind"])
    is_text = result["task"] == "asr"
    if is_text:
        result["data"] |= {"normalizer": config.data.normalizer, "metric": config.data.metric}
    result["seeds"]["bootstrap"] = config.seed
    result["scored"] = {"code": code_record()}
    path = folder / f"score-{f'{config.data.normalizer}-' if is_text else ''}seed{config.seed}.json"
    if path.exists():
        raise RecordError(
            f"{path}: is there already. The same code makes the same numbers of the same predictions; delete it to"
            " score again."
        )
    write_json(path, result)
    return result, path
