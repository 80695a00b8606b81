"""Everything about a configuration that can be wrong without a model and without data, reported together.

Importing this module does not import torch: a wrong configuration is answered in a fraction of a second. The names
that a field may take are the keys of the registries of `mam.merge` and `mam.scoring`, which are pure Python too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mam.config.inputs import AUTO
from mam.config.learning_checks import DTYPES, TRAININGS, missing_trackers, training_problems, tuning_problems
from mam.config.merging_checks import ON_MISMATCH, merging_problems
from mam.config.schema import Config
from mam.errors import choices
from mam.merge.align import ALIGNMENTS
from mam.merge.controls import CONTROLS
from mam.merge.methods import METHODS
from mam.merge.pairing import PAIRINGS
from mam.merge.project import PROJECTS
from mam.merge.schedules import SCHEDULES
from mam.scoring.intervals import INTERVALS
from mam.scoring.language_codes import LANGUAGES, tag_of, whisper_code
from mam.scoring.text import NORMALIZERS

DATA_SPLITS = ("train", "dev", "test", "all", "not_dev")
DATA_SOURCES = ("folder", "hub")
CLUSTERS = ("utterance", "speaker", "origin")
METRICS = (AUTO, "wer", "cer")
ON_BAD = ("stop", "skip")
DEVICES = ("auto", "cpu", "cuda")
TASKS = ("asr", "events")
SPEECH_TASKS = ("transcribe", "translate")
HEADS = {
    "probe_fixed": "a linear probe fitted on the unmerged target's features, used on the merged one's",
    "probe_refit": "a probe fitted again on the merged target's features",
    "checkpoint": "the checkpoint's own classes",
}


def problems(config: Config) -> list[str]:
    """Everything that is wrong with a configuration, one sentence each; empty where it is right."""
    found: list[str] = []

    def one_of(key: str, value: str, valid: Any) -> None:
        if value not in valid:
            found.append(f"{key}={value}: not known. Choose one of: {choices(list(valid))}")

    def registered(key: str, value: str, registry: Mapping[str, Any]) -> None:
        if value not in registry:
            known = "".join(
                f"\n      {name:<{max(map(len, registry))}}  {_in_one_line(entry)}" for name, entry in registry.items()
            )
            found.append(f"{key}={value}: not known. Choose one of:{known}")

    def between(key: str, value: float | None, least: float, most: float) -> None:
        if value is not None and not least <= value <= most:
            found.append(f"{key}={value}: must be from {least:,} to {most:,}".replace(",", " "))

    if not (math.isfinite(config.lam) and 0 <= config.lam <= 1):
        found.append(f"lam={config.lam}: the share of the source must be a number from 0 to 1")
    registered("pairing", config.pairing, PAIRINGS)
    registered("control", config.control, CONTROLS)
    registered("align", config.align, ALIGNMENTS)
    one_of("on_mismatch", config.on_mismatch, ON_MISMATCH)
    registered("project", config.project, PROJECTS)
    registered("method.name", config.method.name, METHODS)
    registered("schedule.name", config.schedule.name, SCHEDULES)
    one_of("data.split", config.data.split, DATA_SPLITS)
    one_of("data.on_bad", config.data.on_bad, ON_BAD)
    one_of("data.normalizer", config.data.normalizer, [AUTO, *NORMALIZERS])
    one_of("data.metric", config.data.metric, METRICS)
    one_of("data.clusters", config.data.clusters, CLUSTERS)
    one_of("model.task", config.model.task, TASKS)
    one_of("model.speech_task", config.model.speech_task, SPEECH_TASKS)
    registered("head", config.head, HEADS)
    one_of("train.name", config.train.name, TRAININGS)
    one_of("device", config.device, DEVICES)
    one_of("evaluate.interval", config.evaluate.interval, INTERVALS)
    one_of("dtype", config.dtype, DTYPES)
    between("control_draws", config.control_draws, 5, 1000)
    between("data.limit", config.data.limit, 1, 10**9)
    between("threads", config.threads, 1, 1024)
    between("seed", config.seed, 0, 2**63)
    between("evaluate.batch_seconds", config.evaluate.batch_seconds, 1, 10**6)
    between("evaluate.draws", config.evaluate.draws, 100, 10**6)
    between("evaluate.memory_gb", config.evaluate.memory_gb, 0, 10**5)
    between("launch.jobs_per_task", config.launch.jobs_per_task, 1, 10**6)
    between("launch.patience_minutes", config.launch.patience_minutes, 0, 10**5)
    between("evaluate.cache_gb", config.evaluate.cache_gb, 0, 10**6)
    if config.data.split == "all" and any((config.data.ids.train, config.data.ids.dev, config.data.ids.test)):
        found.append("data.ids: has no effect with data.split=all")
    found += _empty_names(config)
    found += _task_problems(config) + _language_problems(config)
    found += training_problems(config)
    found += tuning_problems(config)
    found += missing_trackers("track", config.track)
    one_of("data.source", config.data.source, DATA_SOURCES)
    if config.data.source == "hub" and config.data.hub.id is None:
        found.append(f"data.hub.id: data={config.data.name} names no copy on the hub. Say data.hub.id=OWNER/NAME")
    if config.data.source == "folder" and config.data.root is None:
        found.append(f"data.root: data={config.data.name} needs a folder. Say data.root=FOLDER")
    return found + merging_problems(config)


def _empty_names(config: Config) -> list[str]:
    """Names that are said and say nothing; an empty path would mean the folder one is in."""
    model, data = config.model, config.data
    models = {"model.target": model.target, "model.source": model.source}
    revisions = {"model.target_revision": model.target_revision, "model.source_revision": model.source_revision}
    empty = [key for key, name in models.items() if not name.strip()]
    found = [f"{key}: is empty. Give a hub id, a folder or a BEATs file" for key in empty]
    found += [f"{key}: is empty. Give a revision, or leave it out" for key, one in revisions.items() if not one.strip()]
    if data.root is not None and not data.root.strip():
        found.append("data.root: is empty. Give a folder")
    return found


def _in_one_line(entry: Any) -> str:
    """What a registered function or control is: the first line of its docstring, but for what it raises."""
    line = entry if isinstance(entry, str) else getattr(entry, "summary", None) or (entry.__doc__ or "").splitlines()[0]
    return str(line).split(" Raises ")[0].rstrip(".")


def _language_problems(config: Config) -> list[str]:
    """Languages that nothing knows. Whisper's own are known; references may be in any that has a code."""
    found = []
    known = f"Choose a code or an English name: {choices([f'{code} ({name})' for code, name in LANGUAGES.items()])}"
    for key, value, code in (
        ("model.language", config.model.language, whisper_code),
        ("data.language", config.data.language, tag_of),
    ):
        if value is not None and code(value) is None:
            is_norwegian = value == "False"  # what YAML 1.1 makes of an unquoted no
            kind = "language that Whisper knows" if key.startswith("model") else "language code"
            found.append(
                f"{key}={value}: YAML reads an unquoted no as false. Write 'no' or norwegian"
                if is_norwegian
                else f"{key}={value}: no {kind}. {known}"
            )
    return found


def _task_problems(config: Config) -> list[str]:
    """What has a meaning in only one of the two tasks."""
    data, found = config.data, []
    if config.model.task == "asr":
        if config.head != "probe_fixed":
            found.append("head: has no effect on speech recognition")
        if data.fold is not None:
            found.append("data.fold: has no effect on speech recognition")
    elif config.model.task == "events":
        for key, value, default in (
            ("data.normalizer", data.normalizer, AUTO),
            ("data.metric", data.metric, AUTO),
            ("model.language", config.model.language, None),
            ("model.speech_task", config.model.speech_task, "transcribe"),
        ):
            if value != default:
                found.append(f"{key}: has no effect on audio events")
        if any((data.ids.train, data.ids.dev, data.ids.test)):
            found.append("data.ids: has no effect on audio events; name folds or splits in the metadata")
        if data.split in ("train", "not_dev") or (data.split == "all" and config.head != "checkpoint"):
            found.append(
                f"data.split={data.split}: a probe is fitted on other clips than it is tested on. Say test or dev"
            )
    return found
