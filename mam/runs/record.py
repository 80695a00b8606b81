"""The parts of `result.json` as plain values, from what a run has measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mam.config.merging_checks import reads_calibration
from mam.config.schema import Config
from mam.data.audio import RATE
from mam.data.store import AudioStore
from mam.evaluation.diagnostics import diagnose
from mam.evaluation.measurement import Measured
from mam.evaluation.workbench import Predictions
from mam.merge.merger import MergeReport
from mam.merge.methods import METHODS
from mam.merge.plan import MergePlan
from mam.merge.selection import parse_parts
from mam.models.checkpoints import Checkpoint
from mam.tasks import TASKS
from mam.tasks.task import Row


def scores(
    merged: Sequence[Sequence[Row]],
    baseline: Sequence[Row],
    config: Config,
    notes: Sequence[str] = (),
    kind: str = "unmerged",
) -> dict[str, Any]:
    """The parts of ``result.json`` that follow from predictions alone: metrics, baseline, delta, diagnostics.

    ``merged`` has the predictions of each draw of a random control, else of the one merge; ``kind`` says what the
    baseline is, the ``unmerged`` target or regular fine-tuning (``ft``).

    Raises:
        DataError: no reference has a word left after normalisation.
    """
    scored = TASKS[config.model.task].score(config, merged, baseline)
    difference = scored.difference
    delta = asdict(difference) | {key: _pair(getattr(difference, key)) for key in ("ci95", "relative_ci95")}
    return {
        "metrics": scored.metrics,
        "baseline": {"kind": kind, **scored.baseline},
        "delta": delta | scored.beside,
        "diagnostics": diagnose(difference, [*scored.findings, *notes], _caveat(config)),
    }


def window_notes(in_windows: int, clips: int) -> list[str]:
    """The sentence on recordings that are decoded otherwise than the rest."""
    if not in_windows:
        return []
    return [f"{in_windows} of {clips} recordings are longer than 30 s: decoded in windows, with timestamps"]


def _caveat(config: Config) -> str:
    """The data set's note, where it is about this target."""
    origin = config.data.recorded_from
    return config.data.note if not origin or origin in config.model.pretrained_on else ""


def identity(checkpoint: Checkpoint) -> dict[str, str | None]:
    """Return ``model.target`` or ``model.source``."""
    return {"id": checkpoint.id, "revision": checkpoint.revision, "sha256": checkpoint.sha256}


def data_record(config: Config, audio: AudioStore, tested: int) -> dict[str, Any]:
    """Return ``data``; ``tested`` is the number of examples."""
    corpus = audio.corpus
    return {
        "name": corpus.name,
        "split": corpus.split,
        "rule": corpus.rule,
        "n": tested,
        "seconds": round(sum(audio.samples) / RATE, 3),
        "sha256": corpus.sha256,
        "ids_sha256": corpus.ids_sha256,
        "language": config.data.language,
        "normalizer": config.data.normalizer if config.model.task == "asr" else None,
        "metric": config.data.metric if config.model.task == "asr" else None,
        "skipped": [asdict(skipped) for skipped in corpus.skipped],
    }


def merge_record(
    config: Config, plan: MergePlan, report: MergeReport, notes: tuple[str, ...], draws: int
) -> dict[str, Any]:
    """Return ``merge``; ``notes`` come before those of the report, ``draws`` is that of a random control."""
    return {
        "method": plan.method,
        "alpha": plan.alpha if METHODS[plan.method].needs_moments else None,
        "calibration": asdict(config.calibration) if reads_calibration(config) else None,
        "control": plan.control,
        "draws": draws,
        "lam": list(plan.lams),
        "layers": plan.layers,
        "parts": "".join(plan.parts),
        "parts_asked": "".join(parse_parts(config.parts)),
        "pairing": plan.pairing,
        "align": plan.align,
        "project": plan.project,
        "pairs": {str(layer): source for layer, source in plan.pairs.items()},
        "bias": plan.bias,
        "heads": None if plan.heads is None else list(plan.heads),
        "tensors": report.tensors,
        "parameters": report.parameters,
        "notes": [*notes, *report.notes],
    }


def timing(loading: float, made: Measured, baseline: Predictions, audio_seconds: float) -> dict[str, float]:
    """Return ``timing``, in seconds."""
    seconds = {"load": loading, "merge": made.merging, "prefix": baseline.prefix + made.prefix}
    seconds |= {"evaluate": made.evaluating, "baseline": baseline.seconds}
    seconds |= {"audio_seconds": audio_seconds, "rtfx": audio_seconds * len(made.sides) / made.evaluating}
    return {name: round(value, 4) for name, value in seconds.items()}


def _pair(ends: tuple[float | None, float | None] | None) -> list[float | None] | None:
    return None if ends is None else list(ends)
