"""Everything about a configuration that can be wrong without a model and without data, reported together.

Importing this module does not import torch: a wrong configuration is answered in a fraction of a second. The names
that a field may take are the keys of the registries of `mam.merge` and `mam.scoring`, which are pure Python too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from mam.config import Config, LamConfig, ScheduleConfig, TrainConfig, TuneConfig
from mam.errors import MamError, choices
from mam.merge.controls import CONTROLS
from mam.merge.methods import METHODS
from mam.merge.pairing import PAIRINGS
from mam.merge.schedules import SCHEDULES
from mam.merge.selection import parse_heads, parse_layers, parse_parts
from mam.scoring.text import NORMALIZERS

DATA_SPLITS = ("train", "dev", "test", "all")
DATA_SOURCES = ("folder", "hub")
CLUSTERS = ("utterance", "speaker", "origin")
ON_BAD = ("stop", "skip")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
TASKS = ("asr", "events")
TRAININGS = ("none", "finetune", "lmam")
TRAINABLE = ("all", "attention", "lambda", "head")
PER = ("global", "layer", "part", "head")
CONSTRAINTS = ("none", "clamp", "sigmoid", "tanh")
LEARNING_RATES = ("constant", "linear", "cosine")
TRACKERS = ("tensorboard", "wandb", "mlflow")
TUNINGS = {  # and what each reads
    "none": (),
    "grid": ("values",),
    "race": ("values", "looks", "alpha"),
    "golden": ("low", "high", "evaluations"),
    "optuna": ("low", "high", "evaluations"),
}
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
    registered("method.name", config.method.name, METHODS)
    registered("schedule.name", config.schedule.name, SCHEDULES)
    one_of("data.split", config.data.split, DATA_SPLITS)
    one_of("data.on_bad", config.data.on_bad, ON_BAD)
    one_of("data.normalizer", config.data.normalizer, NORMALIZERS)
    one_of("data.clusters", config.data.clusters, CLUSTERS)
    one_of("model.task", config.model.task, TASKS)
    registered("head", config.head, HEADS)
    one_of("train.name", config.train.name, TRAININGS)
    one_of("device", config.device, DEVICES)
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
    found += _schedule_problems(config.schedule)
    if config.data.split == "all" and any((config.data.ids.train, config.data.ids.dev, config.data.ids.test)):
        found.append("data.ids: has no effect with data.split=all")
    found += _task_problems(config)
    found += _training_problems(config)
    found += _tuning_problems(config)
    found += _missing_trackers("track", config.track)
    one_of("data.source", config.data.source, DATA_SOURCES)
    if config.data.source == "hub" and config.data.hub.id is None:
        found.append(f"data.hub.id: data={config.data.name} names no copy on the hub. Say data.hub.id=OWNER/NAME")
    if config.data.source == "folder" and config.data.root is None:
        found.append(f"data.root: data={config.data.name} needs a folder. Say data.root=FOLDER")
    try:
        parse_heads(config.heads, config.model.target_shape.heads)
    except MamError as error:
        found.append(str(error))
    try:
        parts = parse_parts(config.parts)
        if config.control in CONTROLS and not set(parts) & set(CONTROLS[config.control].parts):
            kept = CONTROLS[config.control].parts
            found.append(f"parts={config.parts}: leaves nothing for control={config.control}, which merges {kept} only")
    except MamError as error:
        found.append(str(error))
    return found + _depth_problems(config)


def _in_one_line(entry: Any) -> str:
    """What a registered function or control is: the first line of its docstring, but for what it raises."""
    line = entry if isinstance(entry, str) else getattr(entry, "summary", None) or (entry.__doc__ or "").splitlines()[0]
    return str(line).split(" Raises ")[0].rstrip(".")


def _missing_trackers(key: str, names: Sequence[str]) -> list[str]:
    """Trackers that are not known, or not installed here."""
    unknown = [f"{key}={name}: not known. Choose one of: {choices(TRACKERS)}" for name in names if name not in TRACKERS]
    missing = [name for name in names if name in TRACKERS and find_spec(name) is None]
    return unknown + [
        f"{key}={name}: is not installed here. Install it: pip install 'mam[tracking]'" for name in missing
    ]


OPTIONS = {  # of schedules: which of them read it
    "start": ("linear",),
    "end": ("linear",),
    "values": ("list",),
    "alpha": ("power", "lines"),
    "beta": ("power", "lines"),
    "center": ("gaussian",),
    "width": ("gaussian",),
}


def _schedule_problems(schedule: ScheduleConfig) -> list[str]:
    defaults = ScheduleConfig()
    return [
        f"schedule.{name}: has no effect without schedule={' or '.join(readers)}"
        for name, readers in OPTIONS.items()
        if schedule.name not in readers and getattr(schedule, name) != getattr(defaults, name)
    ]


def _task_problems(config: Config) -> list[str]:
    """What has a meaning in only one of the two tasks."""
    data, found = config.data, []
    if config.model.task == "asr":
        if config.head != "probe_fixed":
            found.append("head: has no effect on speech recognition")
        if data.fold is not None:
            found.append("data.fold: has no effect on speech recognition")
    elif config.model.task == "events":
        if data.normalizer != "hubert_english":
            found.append("data.normalizer: has no effect on audio events")
        if any((data.ids.train, data.ids.dev, data.ids.test)):
            found.append("data.ids: has no effect on audio events; name folds or splits in the metadata")
        if data.split == "train" or (data.split == "all" and config.head != "checkpoint"):
            found.append(
                f"data.split={data.split}: a probe is fitted on other clips than it is tested on. Say test or dev"
            )
    return found


def _training_problems(config: Config) -> list[str]:
    """Settings of the training, and what goes together with one."""
    train, found = config.train, []
    if train.name == "none":
        changed = [key for key, value in asdict(train).items() if value != asdict(TrainConfig())[key]]
        return [f"train.{key}: has no effect without train=finetune or train=lmam" for key in changed]

    def one_of(key: str, value: str, valid: Sequence[str]) -> None:
        if value not in valid:
            found.append(f"train.{key}={value}: not known. Choose one of: {choices(valid)}")

    def between(key: str, value: float | None, least: float, most: float) -> None:
        if value is not None and not least <= value <= most:
            found.append(f"train.{key}={value}: must be from {least:g} to {most:g}")

    one_of("schedule", train.schedule, LEARNING_RATES)
    one_of("trainable", train.trainable, TRAINABLE)
    one_of("precision", train.precision, DTYPES)
    one_of("lam.per", train.lam.per, PER)
    one_of("lam.constraint", train.lam.constraint, CONSTRAINTS)
    for key in ("steps", "batch_size", "accumulate", "log_every", "evaluate_every", "limit", "dev_limit"):
        between(key, getattr(train, key), 1, 10**9)
    for key in ("warmup", "label_smoothing", "time_mask"):
        between(key, getattr(train, key), 0, 1)
    for key in ("learning_rate", "head_learning_rate"):
        between(key, getattr(train, key), 0, 10)
    between("weight_decay", train.weight_decay, 0, 10)
    between("clip", train.clip, 0, 10**6)
    between("layer_decay", train.layer_decay, 0.01, 1)
    between("patience", train.patience, 0, 10**9)
    between("lam.learning_rate", train.lam.learning_rate, 0, 10)
    between("lam.warmup_steps", train.lam.warmup_steps, 0, 10**9)
    between("lam.pull", train.lam.pull, 0, 10**9)
    if config.data.split != "test":
        found.append(f"data.split={config.data.split}: a training learns on train, chooses on dev and reports on test")
    if config.dtype != "float32":
        found.append(f"dtype={config.dtype}: weights are trained in fp32. Say train.precision={config.dtype} instead")
    if config.head == "checkpoint":
        found.append("head=checkpoint: a training makes a head of its own. Leave it out")
    if train.name == "finetune":
        shared = config.study.name != "none"  # by arms of which some learn λ
        found += (
            []
            if shared
            else [
                f"train.lam.{key}: has no effect without train=lmam"
                for key, value in asdict(train.lam).items()
                if value != asdict(LamConfig())[key]
            ]
        )
        if train.trainable == "lambda":
            found.append("train.trainable=lambda: without train=lmam there is no λ to train")
    elif train.lam.constraint == "sigmoid" and not 0 < config.lam < 1 and config.schedule.name == "constant":
        found.append(f"train.lam.constraint=sigmoid: λ cannot start at lam={config.lam:g}. Say e.g. lam=0.01, or clamp")
    elif train.lam.per == "global" and config.schedule.name != "constant":
        found.append(
            f"train.lam.per=global: one λ cannot start as schedule={config.schedule.name}. Say schedule=constant"
        )
    elif config.control == "add":
        found.append("control=add: adds the target's weight, which is itself trained with train=lmam. Choose another")
    if train.precision == "float16" and config.device == "cpu":
        found.append("train.precision=float16: not usable on a CPU. Say float32 or bfloat16")
    found += _missing_trackers("train.report_to", train.report_to)
    if config.model.task == "asr" and train.head_learning_rate is not None:
        found.append("train.head_learning_rate: has no effect on speech recognition, which has no new head")
    return found


def _tuning_problems(config: Config) -> list[str]:
    """How λ is chosen, and what goes together with that."""
    tune, defaults, found = config.tune, TuneConfig(), []
    if tune.name not in TUNINGS:
        return [f"tune.name={tune.name}: not known. Choose one of: {choices(list(TUNINGS))}"]
    readers = {
        key: [name for name, keys in TUNINGS.items() if key in keys] for key in asdict(defaults) if key != "name"
    }
    for key, names in readers.items():
        if tune.name not in names and getattr(tune, key) != getattr(defaults, key):
            found.append(f"tune.{key}: has no effect without tune={' or '.join(names)}")
    if tune.name == "none":
        return found
    if "values" in TUNINGS[tune.name] and (len(set(tune.values)) < 2 or not all(0 <= lam <= 1 for lam in tune.values)):
        found.append(f"tune.values={tune.values}: give two or more λ from 0 to 1")
    if not 0 <= tune.low < tune.high <= 1:
        found.append(f"tune.low={tune.low:g}, tune.high={tune.high:g}: must be in order and from 0 to 1")
    if not 3 <= tune.evaluations <= 10_000:
        found.append(f"tune.evaluations={tune.evaluations}: must be from 3 to 10 000")
    if not 1 <= tune.looks <= 20:
        found.append(f"tune.looks={tune.looks}: must be from 1 to 20")
    if not 0 < tune.alpha < 1:
        found.append(f"tune.alpha={tune.alpha:g}: must lie between 0 and 1")
    if config.train.name != "none":
        found.append(f"tune={tune.name}: chooses λ of a merge without training. train=lmam learns λ instead")
    if config.data.split != "test":
        found.append(f"data.split={config.data.split}: tune chooses on dev and reports on test. Leave data.split out")
    if config.evaluate.dev:
        found.append("evaluate.dev: has no effect with tune, which evaluates on dev itself")
    if tune.name == "race" and config.model.task == "events":
        found.append("tune=race: a probe of sounds is judged on whole folds. Say tune=grid")
    return found


def _depth_problems(config: Config) -> list[str]:
    """Layers, schedule and pairing against the depths and widths that the model's configuration states."""
    found: list[str] = []
    target, source = config.model.target_shape, config.model.source_shape
    try:
        selected = parse_layers(config.layers.spec, target.layers)
    except MamError as error:
        return [str(error)]
    if config.schedule.name in SCHEDULES:
        try:
            SCHEDULES[config.schedule.name](config.lam, target.layers, config.schedule)
        except MamError as error:
            found.append(str(error))
    if config.pairing in PAIRINGS:
        try:
            PAIRINGS[config.pairing](selected, target.layers, source.layers)
        except MamError as error:
            found.append(str(error))
    if config.control == "shuffle_layers" and source.layers < 2:
        found.append("control=shuffle_layers: the source has one layer, there is none to exchange it with")
    if config.control == "self" and target.layers < 2:
        found.append("control=self: the target has one layer, there is no other to take")
    if target.width != source.width:
        found.append(
            f"model: the target is {target.width} wide and the source {source.width}."
            " Widths must agree; choose another source, or mend model.*_shape if they do."
        )
    return found
