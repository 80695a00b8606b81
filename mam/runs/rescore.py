"""Scoring saved predictions again with another normalizer or seed, without a model. Nothing is overwritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mam.errors import RecordError
from mam.extensions import in_use
from mam.files import json_text, sha256_json, tidy, write_json
from mam.identity import code_record
from mam.records.extensions import PluginRecord, Rescoring
from mam.records.reading import read_config, read_predictions, read_result
from mam.records.result import RunResult, plain
from mam.runs.scored import score


def rescore(folder: Path, normalizer: str | None, seed: str | None) -> tuple[RunResult, Path]:
    """Score the finished run in ``folder`` again; arguments that are None keep the run's values.

    Returns:
        The result with new metrics, and the file it was written to: ``score-<normalizer>-seed<seed>.json``, or
        ``score-seed<seed>.json`` for audio events. If plug-ins are in use, 8 digits of the hash of their sources follow
        the seed, so that a changed plug-in scores into another file.

    Raises:
        RecordError: not a finished run, its files do not belong together, or the new file exists already with other
            numbers.
        ConfigError: an unknown normalizer, or a seed that is not a number.
    """
    result = read_result(folder)
    merged, baseline = read_predictions(folder)
    config = read_config(folder, {"data.normalizer": normalizer, "seed": seed})
    plugins = [PluginRecord(plugin.name, plugin.sha256, plugin.version) for plugin in in_use()]
    scoring = score(merged, baseline, config, result.remarks, result.baseline.kind)
    result = replace(
        result,
        metrics=scoring.metrics,
        baseline=scoring.baseline,
        delta=scoring.delta,
        diagnostics=scoring.diagnostics,
        groups=scoring.groups,
        seeds=replace(result.seeds, bootstrap=config.seed),
        scored=Rescoring(code_record(), plugins or None),
    )
    words = ["score", f"seed{config.seed}"]
    if result.task == "asr":
        result = replace(result, data=replace(result.data, normalizer=config.data.normalizer))
        words.insert(1, str(config.data.normalizer))
    if plugins:
        words.append(sha256_json(sorted(plugin.sha256 for plugin in plugins))[:8])
    path = folder / f"{'-'.join(words)}.json"
    content = plain(result)
    if path.exists() and not _holds(path, content):
        raise RecordError(f"{path}: already exists and was made by other code. Move it to score again.")
    if path.exists():
        tidy(path)
    else:
        write_json(path, content)
    return result, path


def _holds(path: Path, content: dict[str, Any]) -> bool:
    try:
        return path.read_text(encoding="utf-8") == json_text(content)
    except (OSError, ValueError):
        return False
