"""`result.json` as types. Its JSON schema (`result.schema.json`) is generated from them.

Rates are fractions, times are seconds. Fields marked `ABSENT` are left out of the file where they are None: they belong
to one task only, or results of older versions lack them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, Len
from pydantic import ConfigDict, Field, StringConstraints, with_config

from mam.data.listing import Skipped
from mam.identity import Code
from mam.merge.options import Calibration, MergeOptions
from mam.scoring.bounds import Count, Positive, Rate, Share
from mam.scoring.error_rate import ErrorRates
from mam.scoring.significance import Difference
from mam.scoring.wer import Rates

SCHEMA: Literal[1] = 1
Metric: TypeAlias = Literal["wer", "cer", "error"]
SpeechTask: TypeAlias = Literal["transcribe", "translate"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Parts = Annotated[str, StringConstraints(pattern=r"^[qkvo]+$")]
Layer = Annotated[int, Ge(0)]
ABSENT = {"absent": True}  # of a field that is left out of the file where it is None


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint: hub id or folder, commit on the hub, SHA-256 of the weights."""

    id: str
    revision: str | None
    sha256: Sha256


@dataclass(frozen=True)
class DecoderRecord:
    """What Whisper's decoder was told. ``origin`` says where its language is from; ``share`` is that of the votes."""

    language: str
    task: SpeechTask
    prompt: list[str]
    origin: Annotated[Literal["config", "generation_config", "vocabulary", "detected"], Field(alias="from")]
    share: float | None = None


@dataclass(frozen=True)
class ModelRecord:
    """The pair of models; ``decoder`` is None for targets without one."""

    name: str
    target: CheckpointRecord
    source: CheckpointRecord
    decoder: DecoderRecord | None = None


@dataclass(frozen=True)
class DataRecord:
    """The examples that were evaluated.

    ``language`` is that of the references, ``metric`` what is compared in speech recognition, ``in_windows`` the number
    of recordings that were too long to be decoded in one piece.
    """

    name: str
    split: str
    rule: str
    n: Positive
    seconds: Annotated[float, Gt(0)]
    sha256: Sha256
    ids_sha256: Sha256
    normalizer: str | None
    skipped: list[Skipped]
    language: str | None = None
    metric: Literal["wer", "cer"] | None = None
    in_windows: Count | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class MergeRecord:
    """What was merged: ``lam`` has one λ for each target layer, ``pairs`` the source layer of each merged one.

    A control may merge fewer projections (``parts``) than were asked for (``parts_asked``). ``asked`` are all the
    options that were asked for; results of older versions lack it.
    """

    method: str
    control: str
    lam: Annotated[list[float], Len(1)]
    layers: Annotated[list[Layer], Len(1)]
    parts: Parts
    pairing: str
    pairs: dict[str, int]
    bias: bool
    tensors: Count
    parameters: Count
    notes: list[str]
    alpha: float | None = None
    calibration: Calibration | None = None
    draws: Annotated[int, Ge(1), Le(1000)] = 1
    heads: list[Layer] | None = None
    align: str = "none"
    project: str | None = None
    parts_asked: Parts | None = field(default=None, metadata=ABSENT)
    asked: MergeOptions | None = field(default=None, metadata=ABSENT)

    @property
    def is_identity(self) -> bool:
        """Whether every λ is 0, so that the merged model is the target."""
        return not any(self.lam)

    @property
    def merged_layers(self) -> list[int]:
        """The selected layers whose λ is not 0; all selected ones where every λ is."""
        return [layer for layer in self.layers if self.lam[layer]] or list(self.layers)


@dataclass(frozen=True)
class FoldTraining:
    """One training: numbers of clips, steps, the step that was kept, λ at its end by layer."""

    fold: str | None
    train: Count
    dev: Count
    steps: Count
    best_step: Count
    dev_loss: float | None
    lam: list[float]
    skipped: list[Skipped]


@dataclass(frozen=True)
class DevChange:
    """The rate on dev before and after a training, which dev chose the step of."""

    metric: Metric
    before: Rate
    after: Rate
    absolute: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class TrainRecord:
    """A fine-tuning. ``settings`` is its configuration; ``ft`` the folder of the regular fine-tuning compared with.

    ``ft_key`` is equal for all trainings that share a regular fine-tuning; ``lam_at_start`` has one λ a layer.
    """

    name: Literal["finetune", "lmam"]
    settings: dict[str, Any]
    ft_key: str
    folds: Annotated[list[FoldTraining], Len(1)]
    dev: DevChange
    seconds: float
    processes: Annotated[int, Ge(1)]
    lam_at_start: list[float]
    ft: str | None

    @property
    def is_lmam(self) -> bool:
        """Whether λ was a parameter of the training."""
        return self.name == "lmam"


@dataclass(frozen=True)
class Chosen:
    """A λ chosen on dev for a test fold (None: for all); with one for each layer in ``lams``, ``lam`` is their mean."""

    fold: str | None
    lam: float
    lams: list[float] | None = field(default=None, metadata=ABSENT)

    @property
    def value(self) -> float | list[float]:
        """One λ for all layers, or one for each."""
        return self.lam if self.lams is None else self.lams


@dataclass(frozen=True)
class Tried:
    """A λ tried on dev: its rate, or without labels its entropy in nats and the share of silenced decisions."""

    fold: str | None
    lam: float
    rate: Rate | None
    lams: list[float] | None = field(default=None, metadata=ABSENT)
    entropy: Annotated[float, Ge(0)] | None = field(default=None, metadata=ABSENT)
    silenced: Share | None = field(default=None, metadata=ABSENT)

    @property
    def value(self) -> float | list[float]:
        """One λ for all layers, or one for each."""
        return self.lam if self.lams is None else self.lams


@dataclass(frozen=True)
class RaceLook:
    """A look at a race: examples seen, the λ in the lead, rates so far, and p of each λ that was dropped; λ as text."""

    examples: Count
    leader: float
    rates: dict[str, float]
    dropped: dict[str, float]


@dataclass(frozen=True)
class TuneRecord:
    """How λ was chosen on dev. ``work`` is the share of a grid's evaluations that was done, ``path`` of a race.

    ``transductive`` says that the test recordings themselves were used, without their labels.
    """

    name: str
    chosen: Annotated[list[Chosen], Len(1)]
    tried: list[Tried]
    work: Share
    path: list[RaceLook]
    transductive: bool | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class DevRecord:
    """The rate on dev, which may choose between runs; None, with the reason in ``note``, where there is none."""

    metric: Metric
    rate: Rate | None
    n: Count
    note: str | None
    data: Sha256 | None


@dataclass(frozen=True)
class ProbeRecord:
    """The probe of one fold: numbers of clips, inverse strength of its regularisation."""

    fold: str
    train: Count
    test: Count
    strength: Annotated[float, Field(alias="C")]


@dataclass(frozen=True)
class HeadRecord:
    """Where the classes of audio events come from; ``without_class`` are those that the checkpoint does not have."""

    name: Literal["probe_fixed", "probe_refit", "checkpoint", "trained"]
    folds: list[ProbeRecord]
    without_class: list[str] | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class SpeechBaseline(Rates):
    """Rates of what a run of speech recognition is compared with."""

    kind: Literal["unmerged", "ft"] = "unmerged"


@dataclass(frozen=True)
class SoundBaseline(ErrorRates):
    """Rates of what a run of audio events is compared with."""

    kind: Literal["unmerged", "ft"] = "unmerged"


@dataclass(frozen=True)
class McNemarRecord:
    """McNemar's exact test over clips, where the units of the test are clusters."""

    p_value: Share
    only_merged_wrong: Count
    only_baseline_wrong: Count
    note: str


@dataclass(frozen=True)
class FoldsDifference:
    """Mean difference over folds by Student's t; interval and p are None below five folds."""

    folds: Annotated[int, Ge(2)]
    mean: float
    ci95: tuple[float, float] | None
    p_value: Share | None


@dataclass(frozen=True)
class Delta(Difference):
    """Merged minus baseline. Older versions tested by the bootstrap and recorded ``detectable``."""

    interval: Literal["sign_flip", "bootstrap"] = "bootstrap"
    detectable: Annotated[float, Ge(0)] | None = field(default=None, metadata=ABSENT)
    over_folds: FoldsDifference | None = field(default=None, metadata=ABSENT)
    mcnemar: McNemarRecord | None = field(default=None, metadata=ABSENT)

    @property
    def is_old(self) -> bool:
        """Whether an older version made it, which counted no changed units."""
        return self.changed is None


@dataclass(frozen=True)
class Timing:
    """Seconds. ``prefix`` is what does not depend on λ, ``evaluate`` and ``baseline`` the rest, merged and unmerged.

    ``rtfx`` is ``audio_seconds`` over ``evaluate``.
    """

    load: Rate
    merge: Rate
    prefix: Rate
    evaluate: Rate
    baseline: Rate
    audio_seconds: Rate
    rtfx: Rate


@dataclass(frozen=True)
class Environment:
    """Versions, device, dtype and threads, on which the bits of a prediction depend."""

    python: str
    torch: str
    transformers: str
    mam: str
    device: str
    dtype: str
    threads: int
    code: Code | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class Seeds:
    """Seeds of the statistics, of random controls and of a training."""

    bootstrap: int
    control: int | None = field(default=None, metadata=ABSENT)
    training: int | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class Scored:
    """The code that scored saved predictions again."""

    code: Code


@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
@dataclass(frozen=True)
class RunResult:
    """A finished run. ``remarks`` are the diagnostics that do not follow from its predictions."""

    schema: Literal[1]
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
    hash: Sha256
    status: Literal["finished"]
    command: str
    task: Literal["asr", "events"]
    model: ModelRecord
    data: DataRecord
    merge: MergeRecord
    train: TrainRecord | None
    tune: TuneRecord | None
    metrics: Rates | ErrorRates
    baseline: SpeechBaseline | SoundBaseline
    delta: Delta
    diagnostics: list[str]
    timing: Timing
    env: Environment
    seeds: Seeds
    head: HeadRecord | None = None
    dev: DevRecord | None = None
    remarks: list[str] = field(default_factory=list)
    scored: Scored | None = field(default=None, metadata=ABSENT)

    @property
    def metric(self) -> Metric:
        """The metric that is compared; older runs of speech recognition counted words."""
        return "error" if self.task == "events" else self.data.metric or "wer"

    @property
    def rate(self) -> float:
        """The compared metric of the merged target."""
        return float(getattr(self.metrics, self.metric))

    @property
    def baseline_rate(self) -> float:
        """The compared metric of the baseline."""
        return float(getattr(self.baseline, self.metric))

    @property
    def is_merged(self) -> bool:
        """Whether anything of a source is in it."""
        return not self.merge.is_identity

    @property
    def is_learnt(self) -> bool:
        """Whether λ is what came out of it, on dev or by training, and not what went in."""
        return self.tune is not None or (self.train is not None and self.train.is_lmam)

    @cached_property
    def is_by_fold(self) -> bool:
        """Whether each test fold has a λ of its own."""
        return self.tune is not None and len({str(one.value) for one in self.tune.chosen}) > 1

    @property
    def dev_rate(self) -> float | None:
        """The rate on dev, None where it was not asked for or there is no dev."""
        return None if self.dev is None else self.dev.rate

    @property
    def code(self) -> str:
        """SHA-256 of the sources that made it, "" where an older version recorded none."""
        return "" if self.env.code is None else self.env.code.sha256


def plain(value: Any) -> Any:
    """Return a dataclass of this module as the values of JSON, without absent fields."""
    if is_dataclass(value) and not isinstance(value, type):
        present = [
            one for one in fields(value) if not (one.metadata.get("absent") and getattr(value, one.name) is None)
        ]
        return {_NAMES.get(one.name, one.name): plain(getattr(value, one.name)) for one in present}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


_NAMES = {"origin": "from", "strength": "C"}  # of fields whose name in the file is no name of Python
