"""The schema of a run, as Hydra structured configs. What a field may hold is checked in `mam.config.checks`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from mam.config.inputs import DataConfig, ModelConfig


@dataclass
class ScheduleConfig:
    """λ over depth, see `mam.merge.schedules`: ``start``, ``end`` for linear, ``values`` for list, the rest by name."""

    name: str = "constant"
    start: float = 0.0
    end: float = 1.0
    values: list[float] = field(default_factory=list)
    alpha: float = 1.0
    beta: float = 1.0
    center: float = 0.0
    width: float = 1.0


@dataclass
class LayersConfig:
    """Which target layers are merged: ``all``, ``odd``, ``even``, ``topN``, ``bottomN``, ``middleN``, ``0-5,9``."""

    spec: str = "all"


@dataclass
class CalibrationConfig:
    """Inputs on which a method or an alignment measures activations, ``limit`` of each side at most.

    ``audio``, for the target: ``train`` (the recordings of the data set's training split, without their labels) or a
    folder of recordings. ``source``, of the source's own modality: a text file with a sentence a line, or a folder of
    images or recordings.
    """

    audio: str = "train"
    source: str | None = None
    limit: int = 64


@dataclass
class MethodConfig:
    """How two layers are mixed. ``alpha``, of regmean, is the share of the moments' off-diagonal that is kept."""

    name: str = "linear"
    alpha: float = 0.9


@dataclass
class LamConfig:
    """λ as a parameter (``train=lmam``), started where ``lam`` and the schedule put it.

    ``per`` says what shares one λ, ``constraint`` where it may go; λ rests for ``warmup_steps``, has a learning rate of
    its own and no weight decay; ``pull`` weighs Σ(λ - initial λ)² in the loss.
    """

    per: str = "layer"
    constraint: str = "clamp"
    learning_rate: float = 0.01
    warmup_steps: int = 0
    pull: float = 0.0


@dataclass
class TrainConfig:
    """Fine-tuning: ``none`` (zero-shot), ``finetune`` (with λ fixed: FT at λ=0, else MAM-FT) or ``lmam`` (λ learnt).

    ``steps`` are updates of ``batch_size`` x ``accumulate`` clips of all processes together. ``warmup`` is a share of
    the steps, ``layer_decay`` what the learning rate is multiplied by from a layer to the one below, ``time_mask`` the
    largest share of a clip's frames that is blanked. Every ``evaluate_every`` steps the model is evaluated on dev and
    saved; ``patience`` evaluations without improvement end the training (0: never). ``resume`` is auto, no, or the
    folder of an unfinished training. ``limit`` takes the first clips of train, ``dev_limit`` of dev.
    """

    name: str = "none"
    steps: int = 200
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float = 1e-4
    head_learning_rate: float | None = None
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.1
    clip: float = 1.0
    layer_decay: float = 1.0
    label_smoothing: float = 0.0
    time_mask: float = 0.0
    trainable: str = "all"
    freeze_front: bool = True
    gradient_checkpointing: bool = False
    precision: str = "float32"
    group_by_length: bool = True
    log_every: int = 10
    evaluate_every: int = 50
    patience: int = 0
    limit: int | None = None
    dev_limit: int | None = None
    resume: str = "auto"
    save_model: bool = True
    report_to: list[str] = field(default_factory=list)
    lam: LamConfig = field(default_factory=LamConfig)


@dataclass
class TuneConfig:
    """How λ is chosen on dev, before the run reports on test; ``none``: ``lam`` as given.

    ``values`` are tried by grid and race, ``evaluations`` between ``low`` and ``high`` by golden, optuna and cmaes. A
    race looks at its values ``looks`` times and loses the best of them with a probability of at most ``alpha``. cmaes
    and entropy choose a λ for every layer, from ``start`` on; entropy goes ``epochs`` times over ``audio`` (dev, or
    test, which makes it transductive) with this ``learning_rate``.
    """

    name: str = "none"
    values: list[float] = field(default_factory=list)
    low: float = 0.0
    high: float = 0.5
    evaluations: int = 12
    looks: int = 5
    alpha: float = 0.05
    start: float = 0.05
    epochs: int = 5
    learning_rate: float = 0.01
    audio: str = "dev"


@dataclass
class EvaluateConfig:
    """Packs of at most ``batch_seconds`` padded seconds (null: what suits target and device); the statistics.

    ``draws`` are random assignments of signs, or resamples; ``interval`` is ``sign_flip`` or ``bootstrap``. With
    ``dev`` the rate on dev is recorded too, for a choice.

    ``memory_gb`` for decoded audio and as much for prefix states, ``cache_gb`` on disk; with ``share`` other processes
    find both there.
    """

    batch_seconds: float | None = None
    draws: int = 10_000
    interval: str = "sign_flip"
    dev: bool = False
    memory_gb: float = 2.0
    cache_gb: float = 20.0
    share: bool = False


@dataclass
class LaunchConfig:
    """What launchers of several processes are told beside Hydra's own keys.

    ``jobs_per_task`` runs follow each other in one process; after ``patience_minutes`` without a sign of life from the
    cluster mam stops waiting.
    """

    jobs_per_task: int = 1
    patience_minutes: float = 15.0


@dataclass
class StudyConfig:
    """Several runs that end in one table: every combination of ``axes`` (a key of the configuration to its values).

    On the axis ``layers.spec`` ``each``, ``tops`` and ``bottoms`` stand for each layer alone, top1 to all, bottom1 on.
    ``arms`` are named lists of words, each of which is combined with every point of the axes; mam sets ``arm``, by
    which a run knows its own. ``pairs`` are [target, source] each, hub ids or folders, whose shapes are read from them.
    """

    name: str = "none"
    axes: dict[str, list[Any]] = field(default_factory=dict)
    arms: dict[str, list[str]] = field(default_factory=dict)
    pairs: list[Any] = field(default_factory=list)
    arm: str = ""


@dataclass
class Config:
    """One run (or, with ``study``, a plan of several)."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    lam: float = 0.05
    parts: str = "qkv"
    bias: bool = True
    pairing: str = "index"
    align: str = "none"
    on_mismatch: str = "error"
    project: str = "procrustes"
    heads: str = "all"
    control: str = "none"
    control_draws: int = 5
    head: str = "probe_fixed"
    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"
    compile: bool = False
    threads: int | None = None
    track: list[str] = field(default_factory=list)
    outputs: str = "outputs"
    cache_dir: str | None = None
    force: bool = False


# What decides where things lie and whether they are done again, not what comes out.
VOLATILE = (
    "outputs",
    "cache_dir",
    "force",
    "study",
    "launch",
    "track",
    "data.page",
    "evaluate.dev",
    "train.resume",
    "train.report_to",
    "evaluate.memory_gb",
    "evaluate.cache_gb",
    "evaluate.share",
)

# Strings that hold paths or layer lists; the command line takes them as they are, without Hydra's own quoting.
VERBATIM = (
    "model.target",
    "model.source",
    "data.root",
    "data.ids.",
    "data.hub.files",
    "layers.spec",
    "heads",
    "outputs",
    "cache_dir",
    "train.resume",
    "calibration.",
)

ConfigStore.instance().store(name="schema", node=Config)
