"""Comparisons of trained arms over several seeds, and the scatter of λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from mam.config.schema import Config
from mam.config.study import StudyConfig
from mam.config.words import key_values
from mam.records.reading import read_config, read_predictions
from mam.records.result import RunResult
from mam.scoring.seeds import LEAST_SEEDS, paired_t
from mam.scoring.significance import Difference, holm
from mam.studies.execute import Member
from mam.tasks import TASKS
from mam.tasks.task import ErrorCounts, paired

Where = tuple[tuple[str, str], ...]  # settings that vary between runs besides arm and seed


@dataclass(frozen=True)
class ArmComparison:
    """One arm minus another on the same examples: a paired interval per seed, and a paired t interval over seeds.

    ``ci95`` and ``p_value`` are None if there are too few seeds. ``p_holm`` is adjusted over all comparisons of the
    study that have a p.
    """

    arm: str
    other: str
    where: dict[str, str]
    seeds: list[tuple[str, Difference]]
    mean: float
    ci95: tuple[float, float] | None
    p_value: float | None
    p_holm: float | None = None

    @property
    def is_enough(self) -> bool:
        """True if there are enough seeds for a t interval."""
        return len(self.seeds) >= LEAST_SEEDS


@dataclass(frozen=True)
class Arm:
    """The finished runs of one arm at one point of the axes, by seed."""

    name: str
    where: Where
    runs: dict[str, Member]

    @property
    def config(self) -> Config:
        """The configuration of its first run."""
        return next(iter(self.runs.values())).job.config

    @property
    def learns_from_source(self) -> bool:
        """True if λ is learnt, and from the source itself."""
        return self.config.train.learns_lam and self.config.control == "none"

    @property
    def is_twin(self) -> bool:
        """True if the arm is like learning λ, but with a control in the source's place or with λ frozen."""
        config = self.config
        return config.train.is_lmam and (config.control != "none" or not config.train.learns_lam)


def compared_arms(members: Sequence[Member]) -> list[ArmComparison]:
    """Compare every arm with the study's reference, with the arms in ``study.against``, and with its twins.

    Raises:
        RecordError: predictions of a finished run are missing or broken.
    """
    arms = _arms(members)
    comparisons = []
    for arm in arms.values():
        for other in _others(arm, arms):
            reference = arms.get((other, arm.where))
            seeds = [] if reference is None else [seed for seed in arm.runs if seed in reference.runs]
            if reference is None or not seeds:
                continue
            differences = [(seed, _difference(arm.runs[seed], reference.runs[seed])) for seed in seeds]
            mean, ci95, p_value = paired_t([difference.absolute for _, difference in differences])
            comparisons.append(ArmComparison(arm.name, other, dict(arm.where), differences, mean, ci95, p_value))
    return _adjusted(comparisons)


def _arms(members: Sequence[Member]) -> dict[tuple[str, Where], Arm]:
    plan = [member.job for member in members]
    arms: dict[tuple[str, Where], Arm] = {}
    for member in members:
        if member.outcome is None:
            continue
        varied = member.job.varied(plan)
        name, seed = varied.pop("arm", ""), varied.pop("seed", str(member.job.config.seed))
        where = tuple(varied.items())
        arms.setdefault((name, where), Arm(name, where, {})).runs[seed] = member
    return arms


def _others(arm: Arm, arms: Mapping[tuple[str, Where], Arm]) -> list[str]:
    """Return the arms to compare one with, at the same point of the axes."""
    study: StudyConfig = arm.config.study
    here = [other for other in arms.values() if other.where == arm.where and other.name != arm.name]
    others = [] if study.reference in (None, arm.name) else [study.reference]
    if arm.learns_from_source:
        others += [other.name for other in here if other.is_twin]
    for pattern, named in study.against.items():
        if fnmatchcase(arm.name, pattern):
            others += [other.name for other in here if any(fnmatchcase(other.name, name) for name in named)]
    return list(dict.fromkeys(name for name in others if name is not None))


def _adjusted(comparisons: Sequence[ArmComparison]) -> list[ArmComparison]:
    """Add Holm's adjusted p. All arms share one reference, and with many of them some difference is found by chance."""
    adjusted = iter(holm([comparison.p_value for comparison in comparisons if comparison.p_value is not None]))
    return [
        comparison if comparison.p_value is None else replace(comparison, p_holm=next(adjusted))
        for comparison in comparisons
    ]


def _difference(member: Member, reference: Member) -> Difference:
    assert member.outcome is not None
    config = read_config(member.outcome.folder)
    return paired(config, [_errors(config, member)], [_errors(config, reference)])


def _errors(config: Config, member: Member) -> ErrorCounts:
    """Return the errors of each example of a training, scored according to ``config``."""
    assert member.outcome is not None
    (rows,), _ = read_predictions(member.outcome.folder)
    return TASKS[config.model.task].counted(config, rows)


def idle_reference(members: Sequence[Member]) -> list[str]:
    """Return the seeds (and what else varies) at which the reference did not lower the rate on dev significantly."""
    plan, idle = [member.job for member in members], []
    for member in members:
        study = member.job.config.study
        if member.outcome is None or study.reference is None or study.arm != study.reference:
            continue
        train = member.outcome.result.train
        if train is not None and (train.dev.ci95 is None or train.dev.ci95[1] >= 0):
            varied = member.job.varied(plan)
            idle.append(key_values(varied, but_for="arm") or "its seed")
    return idle


@dataclass(frozen=True)
class Stability:
    """λ learnt with several seeds: ``lams [seeds, layers]`` of the selected ``layers``.

    ``rank_correlation`` is the mean of Spearman's ρ over all pairs of seeds, None if it is not defined.
    """

    layers: list[int]
    lams: list[list[float]]
    rank_correlation: float | None

    def row(self, place: int) -> dict[str, float | None]:
        """Return ``mean``, ``sd``, ``cv``, ``least`` and ``most`` of one layer's λ over seeds."""
        values = np.array([lams[place] for lams in self.lams])
        mean, sd = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
        variation = sd / abs(mean) if mean else None
        return {"mean": mean, "sd": sd, "cv": variation, "least": float(values.min()), "most": float(values.max())}


def stability(results: Sequence[RunResult]) -> Stability:
    """Return the scatter of λ over runs that differ only in their seed."""
    from scipy.stats import spearmanr  # takes seconds to import

    layers = list(results[0].merge.layers)
    lams = [[result.merge.lam[layer] for layer in layers] for result in results]
    correlations = []
    for i, first in enumerate(lams):
        for second in lams[:i]:
            if len(set(first)) > 1 and len(set(second)) > 1:
                correlations.append(float(spearmanr(first, second).statistic))
    return Stability(layers, lams, float(np.mean(correlations)) if correlations else None)
