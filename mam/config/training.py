"""Options of fine-tuning and of learning λ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc

from mam.errors import choices
from mam.merging.tables import CONSTRAINTS, PER
from mam.scoring.bounds import OneOf, Share

if TYPE_CHECKING:
    from mam.config.schema import Config

TRAINABLE = ("all", "attention", "lambda", "head")
LEARNING_RATES = ("constant", "linear", "cosine")
TRACKERS = ("tensorboard", "wandb", "mlflow")
DTYPES = ("float32", "bfloat16", "float16")
TRAININGS = ("none", "finetune", "lmam")
Number = Annotated[int, Ge(1), Le(10**9)]
Steps = Annotated[int, Ge(0), Le(10**9)]
LearningRate = Annotated[float, Ge(0), Le(10)]


@dataclass
class LamConfig:
    """λ as a parameter (``train=lmam``), initialised from ``lam`` and the schedule."""

    per: Annotated[
        str, OneOf(PER), Doc("what has its own λ: global (all share one), layer, part (Q, K or V of a layer), head")
    ] = "layer"
    constraint: Annotated[
        str, OneOf(CONSTRAINTS), Doc("range of λ: 0 to 1 (clamp, sigmoid), −1 to 1 (tanh), unlimited (none)")
    ] = "clamp"
    learning_rate: Annotated[LearningRate, Doc("learning rate of λ")] = 0.01
    warmup_steps: Annotated[Steps, Doc("number of steps before λ starts to change")] = 0
    pull: Annotated[float, Ge(0), Le(10**9), Doc("weight of Σ(λ - initial λ)² in the loss")] = 0.0


@dataclass
class TrainConfig:
    """Fine-tuning: ``none`` (zero-shot), ``finetune`` (with λ fixed: FT at λ=0, else MAM-FT) or ``lmam`` (λ learnt).

    ``steps`` are updates of ``batch_size`` × ``accumulate`` clips over all processes. ``warmup`` is a share of the
    steps. ``layer_decay`` multiplies the learning rate from each layer to the one below. ``time_mask`` is the largest
    share of a clip's frames that is masked. Every ``evaluate_every`` steps the model is evaluated on dev and saved;
    after ``patience`` evaluations without improvement the training ends (0: never). ``resume`` is auto, no, or the
    folder of an unfinished training. ``limit`` takes the first clips of train, ``dev_limit`` those of dev.
    """

    name: Annotated[
        str,
        OneOf(TRAININGS),
        Doc("training: none (zero-shot), finetune (λ fixed; lam=0 is regular fine-tuning), lmam (λ learnt)"),
    ] = "none"
    steps: Annotated[Number, Doc("number of optimiser steps")] = 200
    batch_size: Annotated[Number, Doc("clips per batch, summed over all processes")] = 8
    accumulate: Annotated[Number, Doc("batches per optimiser step (gradient accumulation)")] = 1
    learning_rate: Annotated[LearningRate, Doc("learning rate of AdamW")] = 1e-4
    head_learning_rate: Annotated[
        float | None, Ge(0), Le(10), Doc("learning rate of the new classification head (audio events); null: the same")
    ] = None
    weight_decay: Annotated[LearningRate, Doc("weight decay; not applied to biases, norms and λ")] = 0.01
    schedule: Annotated[
        str, OneOf(LEARNING_RATES), Doc("schedule of the learning rate after warm-up: cosine, linear, constant")
    ] = "cosine"
    warmup: Annotated[Share, Doc("fraction of the steps used for learning-rate warm-up")] = 0.1
    clip: Annotated[float, Ge(0), Le(10**6), Doc("maximum gradient norm (clipping); 0: no limit")] = 1.0
    layer_decay: Annotated[
        float, Ge(0.01), Le(1), Doc("layer-wise decay: factor on the learning rate from each layer to the one below")
    ] = 1.0
    label_smoothing: Annotated[Share, Doc("label smoothing (Whisper, audio events; not for CTC)")] = 0.0
    time_mask: Annotated[
        Share,
        Doc("maximum fraction of a clip masked as one span (audio events), in addition to the model's SpecAugment"),
    ] = 0.0
    trainable: Annotated[
        str,
        OneOf(TRAINABLE),
        Doc("weights to train: all, attention (Q, K, V, O), lambda (only λ), head; a new head is always trained"),
    ] = "all"
    freeze_front: Annotated[
        bool, Doc("whether to freeze the convolutions before the Transformer, which are then computed only once")
    ] = True
    gradient_checkpointing: Annotated[bool, Doc("whether to use gradient checkpointing: less memory, more time")] = (
        False
    )
    precision: Annotated[
        str,
        OneOf(DTYPES),
        Doc("precision of the computation: float32, bfloat16, float16 (GPU only); weights stay in float32"),
    ] = "float32"
    group_by_length: Annotated[bool, Doc("whether to batch clips of similar length")] = True
    log_every: Annotated[Number, Doc("steps between log entries")] = 10
    evaluate_every: Annotated[Number, Doc("steps between evaluations on dev, each of which saves a checkpoint")] = 50
    patience: Annotated[
        Steps, Doc("early stopping: number of evaluations without improvement; 0: no early stopping")
    ] = 0
    limit: Annotated[int | None, Ge(1), Le(10**9), Doc("use only the first N training clips")] = None
    dev_limit: Annotated[int | None, Ge(1), Le(10**9), Doc("use only the first N dev clips")] = None
    resume: Annotated[
        str, Doc("auto (resume the same training if it was interrupted), no (start again), or the folder of a training")
    ] = "auto"
    save_model: Annotated[bool, Doc("whether to save the trained model in the run folder, as a plain checkpoint")] = (
        True
    )
    report_to: Annotated[
        list[str],
        Doc("experiment trackers of the training: tensorboard, wandb, mlflow (pip install 'mam-bench[tracking]')"),
    ] = field(default_factory=list)
    lam: LamConfig = field(default_factory=LamConfig)

    @property
    def is_lmam(self) -> bool:
        """True if λ is a parameter of the training."""
        return self.name == "lmam"

    @property
    def learns_lam(self) -> bool:
        """True if λ is trained and not frozen."""
        return self.is_lmam and self.lam.learning_rate > 0


def training_problems(config: Config) -> Iterator[str]:
    """Yield options that conflict with a training, or have no effect without one."""
    train = config.train
    if train.name == "none":
        defaults = asdict(TrainConfig())
        for key, value in asdict(train).items():
            if value != defaults[key]:
                yield f"train.{key}: has no effect without train=finetune or train=lmam"
        return
    if config.evaluate.dev:
        yield "evaluate.dev: has no effect on trainings, which are always evaluated on dev. Leave it out"
    if config.data.split != "test":
        yield (
            f"data.split={config.data.split}: trainings learn from train, choose on dev and report on test. Leave it"
            " out"
        )
    if config.dtype != "float32":
        yield f"dtype={config.dtype}: weights are trained in float32. Set train.precision={config.dtype} instead"
    if config.head == "checkpoint":
        yield "head=checkpoint: has no effect on trainings, which make a new head. Leave it out"
    yield from _lmam_problems(config) if train.is_lmam else _finetune_problems(config)
    if train.precision == "float16" and config.device == "cpu":
        yield "train.precision=float16: not available on a CPU. Set train.precision=float32 or bfloat16"
    yield from missing_trackers("train.report_to", train.report_to)
    if config.model.task == "asr" and train.head_learning_rate is not None:
        yield "train.head_learning_rate: has no effect on speech recognition, which has no new head"


def _finetune_problems(config: Config) -> Iterator[str]:
    train, defaults = config.train, asdict(LamConfig())
    is_shared = config.study.name != "none"  # some arms may learn λ
    for key, value in asdict(train.lam).items():
        if value != defaults[key] and not is_shared:
            yield f"train.lam.{key}: has no effect without train=lmam"
    if train.trainable == "lambda":
        yield "train.trainable=lambda: there is no λ to train without train=lmam. Set train=lmam"


def _lmam_problems(config: Config) -> Iterator[str]:
    train = config.train
    is_constant = config.schedule.name == "constant"
    if train.lam.constraint == "sigmoid" and is_constant and not 0 < config.lam < 1:
        yield (
            f"train.lam.constraint=sigmoid: λ cannot start at lam={config.lam:g}. Set e.g. lam=0.01, or"
            " train.lam.constraint=clamp"
        )
    elif train.lam.per == "global" and not is_constant:
        yield (
            f"train.lam.per=global: schedule={config.schedule.name} gives more than one initial λ. Set"
            " schedule=constant"
        )
    elif config.control == "add":
        yield (
            "control=add: adds the target's weights, which train=lmam changes. Set method=reparam instead (W_t + λ W_s)"
        )


def missing_trackers(key: str, names: Sequence[str]) -> Iterator[str]:
    """Yield trackers that are unknown, or not installed here."""
    for name in names:
        if name not in TRACKERS:
            yield f"{key}={name}: not known. Choose one of: {choices(TRACKERS)}"
        elif find_spec(name) is None:
            yield f"{key}={name}: is not installed. Install it: pip install 'mam-bench[tracking]'"
