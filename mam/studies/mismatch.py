"""Does a pair have to fit? The effect of merging, over pairs that differ in depth, width or heads and over others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mam.config import Config
from mam.finished import read_predictions
from mam.scoring.significance import Difference, holm, paired_bootstrap
from mam.studies.execute import Ended
from mam.tasks import TASKS

DIMENSIONS = ("layers", "width", "heads")


@dataclass(frozen=True)
class Mismatch:
    """Mean change by merging over the ``unequal`` pairs minus that over the ``equal`` ones, each change paired with its
    own baseline; ``dimension`` is in what target and source differ, ``where`` what else the study varies.

    With one pair on a side its scatter cannot be in the interval.
    """

    dimension: str
    where: dict[str, str]
    unequal: int
    equal: int
    difference: Difference
    p_holm: float


def by_mismatch(ended: Sequence[Ended]) -> list[Mismatch]:
    """Every dimension of a study of pairs, of the real source alone, at each point of the study's axes; p adjusted.

    A dimension in which all pairs are alike says nothing and is left out. Pairs count as draws of a pair: how they
    scatter enters the interval (`paired_bootstrap`).

    Raises:
        RecordError: predictions of a finished run are missing or broken.
    """
    plan = [end.job for end in ended]
    points: dict[tuple[tuple[str, str], ...], list[Ended]] = {}
    for end in ended:
        if end.outcome and end.job.config.control == "none" and end.job.config.lam > 0:
            varied = tuple((key, value) for key, value in end.job.varied(plan).items() if key not in ("arm", "control"))
            points.setdefault(varied, []).append(end)
    found: list[tuple[str, dict[str, str], int, int, Difference]] = []
    for where, runs in points.items():
        some = [(end.job.config, _change(end)) for end in runs]
        config, (_, lengths, clusters) = some[0]
        for dimension in DIMENSIONS:
            unequal, equal = (
                [change for config, (change, _, _) in some if _differs(config, dimension) == differs]
                for differs in (True, False)
            )
            if unequal and equal:
                sides = np.stack(unequal), np.stack(equal)
                difference = paired_bootstrap(*sides, lengths, clusters, config.evaluate.draws, config.seed)
                found.append((dimension, dict(where), len(unequal), len(equal), difference))
    adjusted = holm([one[-1].p_value for one in found])
    return [Mismatch(*one, p) for one, p in zip(found, adjusted, strict=True)]


def _differs(config: Config, dimension: str) -> bool:
    return bool(getattr(config.model.target_shape, dimension) != getattr(config.model.source_shape, dimension))


def _change(end: Ended) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str] | None]:
    """Errors of every example merged minus unmerged; their lengths and clusters."""
    assert end.outcome is not None
    config = end.job.config
    task = TASKS[config.model.task]
    draws, baseline = read_predictions(end.outcome.folder, task.REQUIRED)
    new, old = task.counted(config, draws[0]), task.counted(config, baseline)
    return new.errors - old.errors, old.lengths, old.clusters
