"""Metrics again from saved predictions: another normalizer, another seed, no model. Written beside, never over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mam.errors import RecordError
from mam.files import write_json
from mam.finished import read_config, read_predictions, read_result
from mam.identity import code_record
from mam.run import scores
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
    keys = [key for key in task.REQUIRED if key != "prediction"]
    examples = [[row[key] for key in keys] for row in baseline]
    if any([[row[key] for key in keys] for row in draw] != examples for draw in merged):
        raise RecordError(f"{folder}: predictions.jsonl and baseline.jsonl are not about the same examples.")
    if len(baseline) != result["data"]["n"]:
        raise RecordError(
            f"{folder}: predictions.jsonl has {len(baseline)} lines, result.json says {result['data']['n']}."
        )
    config = read_config(folder, {"data.normalizer": normalizer, "seed": seed})
    if config.data.clusters != "utterance" and not all(isinstance(row.get("cluster"), str) for row in baseline):
        raise RecordError(
            f"{folder}: predictions.jsonl names no cluster, which data.clusters={config.data.clusters} needs."
        )
    result |= scores(merged, baseline, config, kind=result["baseline"]["kind"])
    is_text = result["task"] == "asr"
    if is_text:
        result["data"]["normalizer"] = config.data.normalizer
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
