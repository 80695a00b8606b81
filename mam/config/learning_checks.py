"""What can be wrong in how λ is learnt or chosen: settings of trainings, searches and trackers, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec

from mam.config.schema import Config, LamConfig, TrainConfig, TuneConfig
from mam.errors import choices
from mam.merge.schedules import ABSOLUTE

TRAINABLE = ("all", "attention", "lambda", "head")
PER = ("global", "layer", "part", "head")
CONSTRAINTS = ("none", "clamp", "sigmoid", "tanh")
LEARNING_RATES = ("constant", "linear", "cosine")
TRACKERS = ("tensorboard", "wandb", "mlflow")
DTYPES = ("float32", "bfloat16", "float16")
TRAININGS = ("none", "finetune", "lmam")
TUNINGS = {  # and what each reads
    "none": (),
    "grid": ("values",),
    "race": ("values", "looks", "alpha"),
    "golden": ("low", "high", "evaluations"),
    "optuna": ("low", "high", "evaluations"),
    "cmaes": ("low", "high", "evaluations", "start"),
    "entropy": ("low", "high", "start", "epochs", "learning_rate", "audio"),
}
PER_LAYER = ("cmaes", "entropy")  # choose a λ for every layer


def missing_trackers(key: str, names: Sequence[str]) -> list[str]:
    """Trackers that are not known, or not installed here."""
    unknown = [f"{key}={name}: not known. Choose one of: {choices(TRACKERS)}" for name in names if name not in TRACKERS]
    missing = [name for name in names if name in TRACKERS and find_spec(name) is None]
    return unknown + [
        f"{key}={name}: is not installed here. Install it: pip install 'mam[tracking]'" for name in missing
    ]


def training_problems(config: Config) -> list[str]:
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
    if config.evaluate.dev:
        found.append("evaluate.dev: has no effect with a training, which is chosen on dev and says so")
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
    found += missing_trackers("train.report_to", train.report_to)
    if config.model.task == "asr" and train.head_learning_rate is not None:
        found.append("train.head_learning_rate: has no effect on speech recognition, which has no new head")
    return found


def tuning_problems(config: Config) -> list[str]:
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
    if not tune.low <= tune.start <= tune.high and tune.name in PER_LAYER:
        found.append(f"tune.start={tune.start:g}: must be from tune.low={tune.low:g} to tune.high={tune.high:g}")
    if tune.audio not in ("dev", "test"):
        found.append(f"tune.audio={tune.audio}: not known. Choose one of: dev, test")
    if not 1 <= tune.epochs <= 10_000:
        found.append(f"tune.epochs={tune.epochs}: must be from 1 to 10 000")
    if not 0 < tune.learning_rate <= 1:
        found.append(f"tune.learning_rate={tune.learning_rate:g}: must be above 0, and 1 at most")
    if tune.name in PER_LAYER and config.schedule.name != "constant":
        found.append(f"schedule={config.schedule.name}: tune={tune.name} chooses λ of every layer. Leave schedule out")
    elif config.schedule.name in ABSOLUTE:
        found.append(
            f"schedule={config.schedule.name}: says λ itself, and tune={tune.name} would choose it. Leave one out"
        )
    if tune.name == "entropy" and config.method.name != "linear":
        found.append(f"method={config.method.name}: tune=entropy takes the gradient of linear merging. Say tune=cmaes")
    if tune.name == "entropy" and config.model.task == "events":
        found.append(
            "tune=entropy: takes the entropy of what a recogniser decides; a probe of sounds decides nothing before it"
            " is fitted. Say tune=grid"
        )
    if not 3 <= tune.evaluations <= 10_000:
        found.append(f"tune.evaluations={tune.evaluations}: must be from 3 to 10 000")
    if not 1 <= tune.looks <= 20:
        found.append(f"tune.looks={tune.looks}: must be from 1 to 20")
    if not 0 < tune.alpha < 1:
        found.append(f"tune.alpha={tune.alpha:g}: must lie between 0 and 1")
    if config.train.name != "none":
        found.append(f"tune={tune.name}: chooses λ of a merge without training. train=lmam learns λ instead")
    if config.data.split not in ("test", "not_dev"):
        found.append(f"data.split={config.data.split}: tune chooses on dev and reports on test. Say test or not_dev")
    if config.evaluate.dev:
        found.append("evaluate.dev: has no effect with tune, which evaluates on dev itself")
    if tune.name == "race" and config.model.task == "events":
        found.append("tune=race: a probe of sounds is judged on whole folds. Say tune=grid")
    return found
