"""What several seeds of a training say together: each method against regular fine-tuning, and how λ scatters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mam.config.schema import Config
from mam.records.reading import read_config, read_predictions
from mam.scoring.seeds import LEAST_SEEDS, paired_t
from mam.scoring.significance import Difference, holm
from mam.studies.execute import Ended
from mam.tasks import TASKS
from mam.tasks.task import paired

FT = "FT"


@dataclass(frozen=True)
class Versus:
    """One arm minus another on the same examples: a paired interval a seed, and over seeds a paired t interval.

    ``ci95`` and ``p_value`` are None where there are too few seeds; ``p_holm`` is adjusted over all comparisons of the
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
        """Whether there are as many seeds as a t interval asks for."""
        return len(self.seeds) >= LEAST_SEEDS


def against_ft(ended: Sequence[Ended]) -> list[Versus]:
    """Every arm minus FT, and each that learns λ from the source minus its twins.

    A twin is the same with a control in the source's place, or with λ frozen where it started.

    Raises:
        RecordError: predictions of a finished run are missing or broken.
    """
    plan = [end.job for end in ended]
    arms: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Ended]] = {}
    for end in ended:
        if end.outcome is not None:
            varied = end.job.varied(plan)
            arm, seed = varied.pop("arm", ""), varied.pop("seed", str(end.job.config.seed))
            arms.setdefault((arm, tuple(varied.items())), {})[seed] = end
    made = []
    for (arm, where), runs in arms.items():
        others = [FT] if arm != FT else []
        config = next(iter(runs.values())).job.config
        if _learns(config) and config.control == "none":
            others += [name for (name, place), some in arms.items() if place == where and _is_twin(some)]
        if arm.startswith("carried"):  # λ carried over, beside λ learnt here and the best fixed one
            others += [name for name, place in arms if place == where and (name == "own" or name.startswith("fixed-"))]
        for other in others:
            pairs = [
                (seed, end, arms[other, where][seed])
                for seed, end in runs.items()
                if seed in arms.get((other, where), {})
            ]
            if pairs:
                seeds = [(seed, _difference(end, reference)) for seed, end, reference in pairs]
                mean, ci95, p_value = paired_t([difference.absolute for _, difference in seeds])
                made.append(Versus(arm, other, dict(where), seeds, mean, ci95, p_value))
    return _adjusted(made)


def _adjusted(made: Sequence[Versus]) -> list[Versus]:
    """The same with Holm's adjusted p: all arms share one FT, and with many some difference is found by chance."""
    tested = [one.p_value for one in made if one.p_value is not None]
    adjusted = iter(holm(tested))
    return [one if one.p_value is None else replace(one, p_holm=next(adjusted)) for one in made]


def _learns(config: Config) -> bool:
    return config.train.name == "lmam" and config.train.lam.learning_rate > 0


def _is_twin(runs: dict[str, Ended]) -> bool:
    config = next(iter(runs.values())).job.config
    return config.train.name == "lmam" and (config.control != "none" or not _learns(config))


def _difference(end: Ended, reference: Ended) -> Difference:
    assert end.outcome is not None
    config, sides = read_config(end.outcome.folder), []
    task = TASKS[config.model.task]
    for one in (end, reference):
        assert one.outcome is not None
        (rows,), _ = read_predictions(one.outcome.folder, task.REQUIRED)
        sides.append(task.counted(config, rows))
    new, old = sides
    return paired(config, [new], [old])


def idle_ft(ended: Sequence[Ended]) -> list[str]:
    """Return the seeds (and what else varies) at which FT did not lower the rate on dev significantly."""
    plan, idle = [end.job for end in ended], []
    for end in ended:
        if end.outcome is None or end.job.config.study.arm != FT:
            continue
        ci95 = end.outcome.result["train"]["dev"]["ci95"]
        if ci95 is None or ci95[1] >= 0:
            varied = end.job.varied(plan)
            idle.append(" ".join(f"{key}={value}" for key, value in varied.items() if key != "arm") or "its seed")
    return idle


@dataclass(frozen=True)
class Stability:
    """λ learnt with several seeds, ``lams [seeds, layers]`` of the selected ``layers``.

    ``rank_correlation`` is the mean of Spearman's ρ between all pairs of seeds, None where it is not defined.
    """

    layers: list[int]
    lams: list[list[float]]
    rank_correlation: float | None

    def row(self, place: int) -> dict[str, float | None]:
        """Mean, standard deviation, coefficient of variation (None at mean 0) and range of one layer's λ."""
        values = np.array([lams[place] for lams in self.lams])
        mean, sd = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
        variation = sd / abs(mean) if mean else None
        return {"mean": mean, "sd": sd, "cv": variation, "least": float(values.min()), "most": float(values.max())}


def stability(results: Sequence[Mapping[str, Any]]) -> Stability:
    """Of runs that differ in their seed alone."""
    from scipy.stats import spearmanr

    layers = list(results[0]["merge"]["layers"])
    lams = [[float(result["merge"]["lam"][layer]) for layer in layers] for result in results]
    pairs = [
        float(spearmanr(lams[i], lams[j]).statistic)
        for i in range(len(lams))
        for j in range(i)
        if len(set(lams[i])) > 1 and len(set(lams[j])) > 1
    ]
    return Stability(layers, lams, float(np.mean(pairs)) if pairs else None)
