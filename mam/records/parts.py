"""The parts of `result.json` as types; `mam.records.result` puts them together.

Rates are fractions, times are seconds. Fields marked `ABSENT` are left out of the file if they are None: they belong
to one task only, or results of older versions lack them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, Len
from pydantic import ConfigDict, Field, StringConstraints, with_config

from mam.data.listing import SkippedExample
from mam.identity import Code
from mam.merging.options import Calibration, MergeOptions
from mam.merging.several import by_role
from mam.scoring.bounds import Count, Positive, Rate, Share
from mam.scoring.error_rate import ErrorRates
from mam.scoring.significance import Difference
from mam.scoring.wer import Rates

SpeechMetric: TypeAlias = Literal["wer", "cer"]
Metric: TypeAlias = Literal["wer", "cer", "error"]
SpeechTask: TypeAlias = Literal["transcribe", "translate"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Parts = Annotated[str, StringConstraints(pattern=r"^[qkvofn]+$")]
LayerNumber = Annotated[int, Ge(0)]
# Of parts in which other versions may have written more.
LENIENT = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)
ABSENT = {"absent": True}  # metadata of a field that is left out of the file if it is None


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint: hub id or folder, commit on the hub, SHA-256 of the weights."""

    id: str
    revision: str | None
    sha256: Sha256


@dataclass(frozen=True)
class DecoderRecord:
    """The prompt of Whisper's decoder. ``origin`` is the origin of the language, ``share`` its share of votes."""

    language: str
    task: SpeechTask
    prompt: list[str]
    origin: Annotated[Literal["config", "generation_config", "vocabulary", "detected"], Field(alias="from")]
    share: float | None = None


@dataclass(frozen=True)
class ModelRecord:
    """The pair of models; ``decoder`` is None for targets without one.

    ``base`` is the common ancestor of both, for methods that need one; ``further`` has the second source and those
    after it.
    """

    name: str
    target: CheckpointRecord
    source: CheckpointRecord
    decoder: DecoderRecord | None = None
    base: CheckpointRecord | None = field(default=None, metadata=ABSENT)
    further: list[CheckpointRecord] | None = field(default=None, metadata=ABSENT)

    @property
    def sources(self) -> list[CheckpointRecord]:
        """The source, or all of several."""
        return [self.source, *(self.further or ())]

    @property
    def parents(self) -> dict[str, CheckpointRecord]:
        """The checkpoints by their roles, as in `by_role`."""
        return by_role(self.target, self.sources, self.base)


@dataclass(frozen=True)
class DataRecord:
    """The examples that were evaluated.

    ``language`` is that of the references, ``metric`` the metric compared in speech recognition. ``in_windows`` is the
    number of recordings that were too long to be decoded in one piece.
    """

    name: str
    split: str
    rule: str
    n: Positive
    seconds: Annotated[float, Gt(0)]
    sha256: Sha256
    ids_sha256: Sha256
    normalizer: str | None
    skipped: list[SkippedExample]
    language: str | None = None
    metric: SpeechMetric | None = None
    in_windows: Count | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class SourceMerge:
    """The merge of one of several sources: λ per layer, source layers and projection, as in `MergeRecord`."""

    lam: Annotated[list[float], Len(1)]
    pairs: dict[str, int]
    project: str | None


@dataclass(frozen=True)
class MergeRecord:
    """A merge. ``lam`` has one λ per target layer, ``pairs`` the source layer for each merged target layer.

    A control may merge fewer projections (``parts``) than requested (``parts_asked``). ``asked`` holds all requested
    options; results of older versions lack it. ``by_source`` has the merge of each of several sources; ``lam`` is then
    their sum, and ``pairs`` and ``project`` are those of the first.
    """

    method: str
    control: str
    lam: Annotated[list[float], Len(1)]
    layers: Annotated[list[LayerNumber], Len(1)]
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
    heads: list[LayerNumber] | None = None
    align: str = "none"
    project: str | None = None
    parts_asked: Parts | None = field(default=None, metadata=ABSENT)
    asked: MergeOptions | None = field(default=None, metadata=ABSENT)
    by_source: list[SourceMerge] | None = field(default=None, metadata=ABSENT)

    @property
    def each(self) -> list[SourceMerge]:
        """The merge of the only source, or of each of several."""
        return self.by_source or [SourceMerge(self.lam, self.pairs, self.project)]

    @property
    def lams_by_source(self) -> list[float]:
        """The λ of every layer, of several sources for each in turn."""
        return [lam for one in self.each for lam in one.lam]

    @property
    def repair(self) -> str:
        """The rescaling of what was merged; ``none`` in results of versions without it."""
        return "none" if self.asked is None else self.asked.repair

    @property
    def is_identity(self) -> bool:
        """True if every λ is 0, so that the merged model is the target."""
        return not any(self.lam)

    @property
    def merged_layers(self) -> list[int]:
        """The selected layers whose λ is not 0; all selected layers if every λ is 0."""
        return [layer for layer in self.layers if self.lam[layer]] or list(self.layers)


@dataclass(frozen=True)
class ProbeRecord:
    """The probe of one fold: numbers of clips, and the inverse strength of its regularisation."""

    fold: str
    train: Count
    test: Count
    strength: Annotated[float, Field(alias="C")]


@dataclass(frozen=True)
class HeadRecord:
    """Where the classes of audio events come from; ``without_class`` has the classes that the checkpoint lacks."""

    name: Literal["probe_fixed", "probe_refit", "checkpoint", "trained"]
    folds: list[ProbeRecord]
    without_class: list[str] | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class SpeechBaseline(Rates):
    """Error rates of the baseline, for speech recognition."""

    kind: Literal["unmerged", "ft"] = "unmerged"


@dataclass(frozen=True)
class SoundBaseline(ErrorRates):
    """Error rates of the baseline, for audio events."""

    kind: Literal["unmerged", "ft"] = "unmerged"


@dataclass(frozen=True)
class McNemarRecord:
    """McNemar's exact test over clips, given in addition if the units of the main test are clusters."""

    p_value: Share
    only_merged_wrong: Count
    only_baseline_wrong: Count
    note: str


@dataclass(frozen=True)
class FoldsDifference:
    """Mean difference over folds, with Student's t; interval and p are None with fewer than five folds."""

    folds: Annotated[int, Ge(2)]
    mean: float
    ci95: tuple[float, float] | None
    p_value: Share | None


@dataclass(frozen=True)
class Delta(Difference):
    """Merged minus baseline. Older versions used the bootstrap and recorded ``detectable``."""

    interval: Literal["sign_flip", "bootstrap"] = "bootstrap"
    detectable: Annotated[float, Ge(0)] | None = field(default=None, metadata=ABSENT)
    over_folds: FoldsDifference | None = field(default=None, metadata=ABSENT)
    mcnemar: McNemarRecord | None = field(default=None, metadata=ABSENT)

    @property
    def is_old(self) -> bool:
        """True if recorded by an older version, which did not count changed units."""
        return self.changed is None


@dataclass(frozen=True)
class GroupRecord:
    """The ``n`` examples with the same value in a column; ``value`` is None for those without one.

    ``rate``, ``baseline`` and ``delta`` are None if no reference in the group has any words. ``p_holm`` is the p of
    ``delta``, corrected for all groups of the column. Groups with few units have no interval.
    """

    value: str | int | None
    n: Positive
    rate: Rate | None
    baseline: Rate | None
    delta: Difference | None
    p_holm: Share | None = None


@dataclass(frozen=True)
class GroupsRecord:
    """Rates and differences for each value of the column ``by``; the group with the most examples comes first."""

    by: str
    groups: Annotated[list[GroupRecord], Len(1)]


@with_config(LENIENT)
@dataclass(frozen=True)
class Timing:
    """Times in seconds. ``prefix`` is the part of the computation that does not depend on λ.

    ``evaluate`` (merged) and ``baseline`` (unmerged) are the rest. ``rtfx`` is ``audio_seconds`` / ``evaluate``.
    """

    load: Rate
    merge: Rate
    prefix: Rate
    evaluate: Rate
    baseline: Rate
    audio_seconds: Rate
    rtfx: Rate


@with_config(LENIENT)
@dataclass(frozen=True)
class Environment:
    """Versions, device, dtype and number of threads, on which exact predictions depend."""

    python: str
    torch: str
    transformers: str
    mam: str
    device: str
    dtype: str
    threads: int
    code: Code | None = field(default=None, metadata=ABSENT)


@with_config(LENIENT)
@dataclass(frozen=True)
class Seeds:
    """Seeds of the statistics (``bootstrap``, for any test), of random controls and of the training."""

    bootstrap: int
    control: int | None = field(default=None, metadata=ABSENT)
    training: int | None = field(default=None, metadata=ABSENT)
