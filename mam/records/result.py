"""`result.json` as a type. Its JSON schema (`result.schema.json`) is generated from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, StringConstraints, with_config

from mam.records.extensions import Extensions, Rescoring
from mam.records.learning import DevRecord, TrainRecord, TuneRecord
from mam.records.parts import (
    ABSENT,
    DataRecord,
    Delta,
    Environment,
    GroupsRecord,
    HeadRecord,
    MergeRecord,
    Metric,
    ModelRecord,
    Seeds,
    Sha256,
    SoundBaseline,
    SpeechBaseline,
    Timing,
)
from mam.scoring.error_rate import ErrorRates
from mam.scoring.wer import Rates

SCHEMA: Literal[1] = 1


@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
@dataclass(frozen=True)
class RunResult:
    """A finished run. ``remarks`` are the diagnostics that are not computed from its predictions."""

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
    scored: Rescoring | None = field(default=None, metadata=ABSENT)
    extensions: Extensions | None = field(default=None, metadata=ABSENT)
    groups: list[GroupsRecord] | None = field(default=None, metadata=ABSENT)

    @property
    def metric(self) -> Metric:
        """The metric that is compared. Older runs of speech recognition used the WER."""
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
    def grouped_by(self) -> set[str]:
        """The columns by whose values rates are recorded."""
        return {table.by for table in self.groups or ()}

    @property
    def is_merged(self) -> bool:
        """True if the result contains anything of a source."""
        return not self.merge.is_identity

    @property
    def is_learnt(self) -> bool:
        """True if λ was chosen on dev or learnt in training, not given."""
        return self.tune is not None or (self.train is not None and self.train.is_lmam)

    @cached_property
    def is_by_fold(self) -> bool:
        """True if test folds have different λ."""
        return self.tune is not None and len({str(choice.value) for choice in self.tune.chosen}) > 1

    @property
    def dev_rate(self) -> float | None:
        """The rate on dev; None if it was not requested or there is no dev split."""
        return None if self.dev is None else self.dev.rate

    @property
    def code(self) -> str:
        """SHA-256 of mam's sources; "" if an older version recorded none."""
        return "" if self.env.code is None else self.env.code.sha256


def plain(value: Any) -> Any:
    """Return a dataclass of this module as JSON values, without absent fields."""
    if is_dataclass(value) and not isinstance(value, type):
        present = [
            attribute
            for attribute in fields(value)
            if not (attribute.metadata.get("absent") and getattr(value, attribute.name) is None)
        ]
        return {
            _NAMES.get(attribute.name, attribute.name): plain(getattr(value, attribute.name)) for attribute in present
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


_NAMES = {"origin": "from", "strength": "C"}  # names in the file that are not valid or usual in Python
