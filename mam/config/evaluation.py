"""How predictions are made and compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le

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
    """Packs of recordings, statistics, and what is kept.

    Attributes:
        batch_seconds: padded seconds that are computed together; null: what suits target and device.
        draws: random assignments of signs, or resamples.
        interval: ``sign_flip`` or ``bootstrap``.
        dev: record the rate on dev too, for a choice between runs.
        memory_gb: for decoded audio, and as much for the states that do not depend on λ.
        cache_gb: on disk, for all runs together.
        share: other processes find both there.
    """

    batch_seconds: Annotated[float | None, Ge(1), Le(10**6)] = None
    draws: Annotated[int, Ge(100), Le(10**6)] = 10_000
    interval: Annotated[str, OneOf(INTERVALS)] = "sign_flip"
    dev: bool = False
    memory_gb: Annotated[float, Ge(0), Le(10**5)] = 2.0
    cache_gb: Annotated[float, Ge(0), Le(10**6)] = 20.0
    share: bool = False


def evaluation_problems(config: Config) -> Iterator[str]:
    """Yield a head that the task does not have."""
    if config.model.task == "asr" and config.head != "probe_fixed":
        yield "head: has no effect on speech recognition"
