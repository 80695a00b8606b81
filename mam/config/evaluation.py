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
    "probe_fixed": "a linear probe, fitted on features of the unmerged target and applied to those of the merged model",
    "probe_refit": "a linear probe, fitted again on features of the merged model",
    "checkpoint": "the checkpoint's own classes",
}


@dataclass
class EvaluateConfig:
    """Packs of recordings, statistics, and storage."""

    batch_seconds: Annotated[
        float | None,
        Ge(1),
        Le(10**6),
        Doc("seconds of audio per batch, padding included; null: 10 on a CPU (Whisper 240), 160 on a GPU"),
    ] = None
    draws: Annotated[
        int,
        Ge(100),
        Le(10**6),
        Doc("number of random sign flips in the test (exact up to 16 changed units) or of bootstrap resamples"),
    ] = 10_000
    interval: Annotated[
        str,
        OneOf(INTERVALS),
        Doc("confidence interval: sign_flip (agrees with p) or bootstrap (percentile; too narrow for few units)"),
    ] = "sign_flip"
    dev: Annotated[
        bool, Doc("whether to evaluate on dev too, for choosing between runs; sweeps over λ set it automatically")
    ] = False
    by: Annotated[
        list[str],
        Doc("columns to break results down by, e.g. [speaker]: label, origin, fold, split or any metadata column"),
    ] = field(default_factory=list)
    memory_gb: Annotated[
        float,
        Ge(0),
        Le(10**5),
        Doc("memory for decoded audio, in GB; as much again is used for results that do not depend on λ"),
    ] = 2.0
    cache_gb: Annotated[
        float,
        Ge(0),
        Le(10**6),
        Doc("disk space for what exceeds evaluate.memory_gb, in GB, shared by all runs; 0: none"),
    ] = 20.0
    share: Annotated[
        bool, Doc("whether to share audio and hidden states with other processes on disk; launchers set it")
    ] = False


def evaluation_problems(config: Config) -> Iterator[str]:
    """Yield a problem if the task does not support the head, or a column is named more than once."""
    by = config.evaluate.by
    if len(set(by)) < len(by):
        yield f"evaluate.by={','.join(by)}: a column is named more than once. Name each once"
    if config.model.task == "asr" and config.head != "probe_fixed":
        yield "head: has no effect on speech recognition"
