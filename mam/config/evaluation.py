"""Options of prediction and comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
        Doc("padded seconds computed together; null: 10 on a CPU (Whisper 120), 160 on a GPU"),
    ] = None
    draws: Annotated[
        int,
        Ge(100),
        Le(10**6),
        Doc("random assignments of signs of the test, beyond 16 changed units; resamples of the bootstrap"),
    ] = 10_000
    interval: Annotated[
        str,
        OneOf(INTERVALS),
        Doc("sign_flip (agrees with p), or bootstrap (percentile; too narrow for few units or changes)"),
    ] = "sign_flip"
    dev: Annotated[
        bool, Doc("the rate on dev too, where it may choose between runs; a multirun over λ says it itself")
    ] = False
    memory_gb: Annotated[
        float, Ge(0), Le(10**5), Doc("for decoded audio, and as much again for what does not depend on λ")
    ] = 2.0
    cache_gb: Annotated[
        float, Ge(0), Le(10**6), Doc("on disk, for all runs together: what memory has no room for; 0: nothing")
    ] = 20.0
    share: Annotated[
        bool, Doc("keep audio and all states on disk for other processes; launchers say it themselves")
    ] = False


def evaluation_problems(config: Config) -> Iterator[str]:
    """Yield a problem if the task does not support the head."""
    if config.model.task == "asr" and config.head != "probe_fixed":
        yield "head: has no effect on speech recognition"
