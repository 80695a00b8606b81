"""Does the source's content matter? The real source against each control, on the same examples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mam.compose import Job
from mam.config import Config
from mam.finished import read_config, read_predictions
from mam.scoring.significance import Difference, holm, paired_bootstrap
from mam.studies.execute import Ended
from mam.tasks import TASKS
from mam.tasks.task import Counted

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """The real source minus a control, both merged in the same way; ``where`` is what else varies in the study.

    ``p_holm`` is adjusted over all comparisons of the study.
    """

    where: dict[str, str]
    control: str
    difference: Difference
    p_holm: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference passes the correction for the number of comparisons."""
        return self.p_holm < LEVEL


@dataclass(frozen=True)
class Merged:
    """A finished run that merged something; ``where`` is what distinguishes it from others, but for its control."""

    where: tuple[tuple[str, str], ...]
    control: str
    folder: Path
    key: Hashable  # equal for runs that differ in their control alone

    @cached_property
    def config(self) -> Config:
        """What it was run with. Raises RecordError, see `read_config`."""
        return read_config(self.folder)

    def counted(self) -> list[Counted]:
        """Errors of each draw. Raises RecordError where its predictions are missing or broken."""
        task = TASKS[self.config.model.task]
        draws, _ = read_predictions(self.folder, task.REQUIRED)
        return [task.counted(self.config, rows) for rows in draws]


def against_controls(ended: Sequence[Ended]) -> list[Comparison]:
    """Every control of a study against the real source merged in the same way; raises what `compared` raises."""
    plan = [end.job for end in ended]
    return compared(
        [
            Merged(where := _where(end.job, plan), end.job.config.control, end.outcome.folder, where)
            for end in ended
            if end.outcome and end.job.config.lam > 0
        ]
    )


def compared(merged: Sequence[Merged]) -> list[Comparison]:
    """Every control against the real source merged in the same place, in the order of the runs.

    The draws of a random control are averaged, and their variance enters the interval (`paired_bootstrap`).

    Raises:
        RecordError: predictions of a finished run are missing or broken.
    """
    controls = [one for one in merged if one.control != "none"]
    wanted = {one.key for one in controls}
    real = {one.key: one.counted()[0] for one in merged if one.control == "none" and one.key in wanted}
    found: list[tuple[dict[str, str], str, Difference]] = []
    for one in controls:
        if one.key in real:
            source, draws = real[one.key], one.counted()
            difference = paired_bootstrap(
                source.errors,
                np.stack([draw.errors for draw in draws]),
                source.lengths,
                source.clusters,
                one.config.evaluate.draws,
                one.config.seed,
            )
            found.append((dict(one.where), one.control, difference))
    adjusted = holm([difference.p_value for _, _, difference in found])
    return [Comparison(*one, p) for one, p in zip(found, adjusted, strict=True)]


def conclusion(comparisons: Sequence[Comparison], n: int) -> str:
    """One sentence on what follows; ``n`` examples were compared."""
    passed = [one for one in comparisons if one.is_significant]
    if not passed:
        seen = [one.difference.detectable for one in comparisons if one.difference.detectable is not None]
        limit = "; no prediction's errors differ, so that nothing can be said of what could have been seen"
        if seen:
            low, high = f"{100 * min(seen):.2f}", f"{100 * max(seen):.2f}"
            span = low if low == high else f"{low} to {high}"
            limit = f"; differences below {span} points could not have been seen"
        return f"no evidence that the source's content matters at n = {n}{limit}"
    better = [one for one in passed if one.difference.absolute < 0]
    worse = [one for one in passed if one.difference.absolute > 0]
    pieces = [
        f"{word} than {', '.join(_name(one) for one in some)}"
        for word, some in (("better", better), ("worse", worse))
        if some
    ]
    rest = len(comparisons) - len(passed)
    return (
        f"the source's content matters at n = {n}: it does {' and '.join(pieces)}"
        f" ({rest} of {len(comparisons)} comparisons show no difference)"
    )


def _name(one: Comparison) -> str:
    where = " ".join(f"{key}={value}" for key, value in one.where.items())
    return f"{one.control} at {where}" if where else one.control


def _where(job: Job, plan: Sequence[Job]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in job.varied(plan).items() if key not in ("control", "control_draws"))
