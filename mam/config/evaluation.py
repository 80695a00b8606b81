"""Options of prediction and comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc

from mam.scoring.bounds import OneOf
from mam.scoring.intervals import INTERVALS

if TYPE_CHECKING:
    from mam.config.schema import Config

DEVICES = ("auto", "cpu", "cuda")
HEADS = {
    "probe_fixed": "a linear probe fitted on the unmerged target's features, used on the merged one's",
    "probe_refit": "a probe fitted again on the merged target's features",
    "checkpoint": "the checkpoint's own classes",
}


@dataclass
class EvaluateConfig:
    """Packs of recordings, statistics, and storage."""

    batch_seconds: Annotated[
        float | None,
        Ge(1),
        Le(10**6),
        Doc("padded seconds per pack; null: 10 on a CPU (Whisper 240), 160 on a GPU"),
    ] = None
    draws: Annotated[
        int,
        Ge(100),
        Le(10**6),
        Doc("number of random sign assignments of the test, above 16 changed units, or of bootstrap resamples"),
    ] = 10_000
    interval: Annotated[
        str,
        OneOf(INTERVALS),
        Doc("interval: sign_flip (agrees with p) or bootstrap (percentile; too narrow for few units or changes)"),
    ] = "sign_flip"
    dev: Annotated[
        bool, Doc("whether dev is evaluated too, for a choice between runs; set by mam in a multirun over λ")
    ] = False
    by: Annotated[
        list[str],
        Doc("columns by whose values rates are shown: [speaker], label, origin, fold, split, or any of the metadata"),
    ] = field(default_factory=list)
    memory_gb: Annotated[
        float, Ge(0), Le(10**5), Doc("memory for decoded audio, and the same again for results that do not depend on λ")
    ] = 2.0
    cache_gb: Annotated[
        float, Ge(0), Le(10**6), Doc("disk space, shared by all runs, for data that exceeds the memory; 0: none")
    ] = 20.0
    share: Annotated[
        bool, Doc("whether audio and all states are kept on disk for other processes; set by launchers")
    ] = False


def evaluation_problems(config: Config) -> Iterator[str]:
    """Yield a problem if the task does not support the head, or a column is named more than once."""
    by = config.evaluate.by
    if len(set(by)) < len(by):
        yield f"evaluate.by={','.join(by)}: names a column more than once"
    if config.model.task == "asr" and config.head != "probe_fixed":
        yield "head: has no effect on speech recognition"
