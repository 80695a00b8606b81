"""Does the source's content matter? The real source against each control, on the same examples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mam.compose import Job
from mam.config import Config
from mam.finished import read_config, read_predictions
from mam.merge.controls import CONTROLS
from mam.scoring.significance import Difference, holm, paired_bootstrap
from mam.studies.execute import Ended
from mam.tasks import TASKS
from mam.tasks.task import Counted

LEVEL = 0.05
PLAIN = "linear"  # in place of a control: the merge of the paper
ALIGN = ("align",)


@dataclass(frozen=True)
class Comparison:
    """The real source minus a control, both merged in the same way; ``where`` is what else varies in the study.

    A control without structure stands unaligned beside an aligned source.

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
    unaligned: Hashable = None  # equal for runs that differ in their control and alignment alone

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
            Merged(
                where := _where(end.job, plan),
                end.job.config.control,
                end.outcome.folder,
                where,
                _without(where, ALIGN),
            )
            for end in ended
            if end.outcome and end.job.config.lam > 0
        ]
    )


def against_plain(ended: Sequence[Ended]) -> list[Comparison]:
    """Every other method and alignment of the real source against the linear, unaligned merge in the same place.

    ``control`` of a comparison is then `PLAIN`. Raises what `compared` raises.
    """
    plan, merged = [end.job for end in ended], []
    for end in ended:
        config = end.job.config
        if end.outcome and config.lam > 0 and config.control == "none":
            where, is_plain = _where(end.job, plan), config.method.name == "linear" and config.align == "none"
            arm = () if config.study.pairs else ("arm",)  # of given pairs the arm is the pair
            key = _without(where, (*ALIGN, *arm, "method"))
            merged.append(Merged(where, PLAIN if is_plain else "none", end.outcome.folder, key))
    return compared(merged)


def compared(merged: Sequence[Merged]) -> list[Comparison]:
    """Every control against the real source merged in the same place, in the order of the runs.

    The draws of a random control are averaged, and their variance enters the interval (`paired_bootstrap`).

    Raises:
        RecordError: predictions of a finished run are missing or broken.
    """
    controls = [one for one in merged if one.control != "none"]
    sources = [one for one in merged if one.control == "none"]
    kept: dict[Path, Counted] = {}
    found: list[tuple[dict[str, str], str, Difference]] = []
    for one in controls:
        draws: list[Counted] = []
        for other in sources:
            if not _matches(other, one):
                continue
            if other.folder not in kept:
                kept[other.folder] = other.counted()[0]
            source = kept[other.folder]
            draws = draws or one.counted()
            difference = paired_bootstrap(
                source.errors,
                np.stack([draw.errors for draw in draws]),
                source.lengths,
                source.clusters,
                one.config.evaluate.draws,
                one.config.seed,
            )
            found.append((dict(other.where), one.control, difference))
    adjusted = holm([difference.p_value for _, _, difference in found])
    return [Comparison(*one, p) for one, p in zip(found, adjusted, strict=True)]


def _matches(source: Merged, control: Merged) -> bool:
    """Whether the two were merged in the same way; in a control without structure there is nothing to align."""
    is_bare = control.control in CONTROLS and not CONTROLS[control.control].has_structure
    return source.unaligned == control.unaligned if is_bare else source.key == control.key


def conclusion(comparisons: Sequence[Comparison], n: int) -> str:
    """One sentence on what follows; ``n`` examples were compared.

    Of an aligned source against an unaligned control nothing follows for its content: an alignment finds something in
    noise too.
    """
    fair = [
        one for one in comparisons if one.where.get("align", "none") == "none" or CONTROLS[one.control].has_structure
    ]
    rest = "" if len(fair) == len(comparisons) else "; aligned sources, whose controls are not aligned, are left out"
    if not fair:
        return "nothing follows for the source's content: it was aligned, and its controls are not"
    found = _passed(fair, lambda one: f"than {_name(one)}")
    if not found:
        return f"no evidence that the source's content matters at n = {n}{_limit(fair)}{rest}"
    return f"the source's content matters at n = {n}: it does {found}{rest}"


def rivalry(comparisons: Sequence[Comparison], n: int) -> str:
    """One sentence on methods and alignments against linear, unaligned merging; ``n`` examples were compared."""
    found = _passed(comparisons, lambda one: " ".join(f"{key}={value}" for key, value in one.where.items()))
    if not found:
        return f"nothing differs from linear, unaligned merging at n = {n}{_limit(comparisons)}"
    return f"against linear, unaligned merging at n = {n}: {found}"


def _passed(comparisons: Sequence[Comparison], name: Callable[[Comparison], str]) -> str:
    """What is better and what is worse beyond the correction, "" where nothing is."""
    passed = [one for one in comparisons if one.is_significant]
    better = [name(one) for one in passed if one.difference.absolute < 0]
    worse = [name(one) for one in passed if one.difference.absolute > 0]
    pieces = [f"{word} {', '.join(some)}" for word, some in (("better", better), ("worse", worse)) if some]
    rest = f" ({len(comparisons) - len(passed)} of {len(comparisons)} comparisons show no difference)"
    return " and ".join(pieces) + rest if pieces else ""


def _limit(comparisons: Sequence[Comparison]) -> str:
    """What could not have been seen."""
    seen = [one.difference.detectable for one in comparisons if one.difference.detectable is not None]
    if not seen:
        return "; no prediction's errors differ, so that nothing can be said of what could have been seen"
    low, high = f"{100 * min(seen):.2f}", f"{100 * max(seen):.2f}"
    return f"; differences below {low if low == high else f'{low} to {high}'} points could not have been seen"


def _name(one: Comparison) -> str:
    where = " ".join(f"{key}={value}" for key, value in one.where.items())
    return f"{one.control} at {where}" if where else one.control


def _without(where: tuple[tuple[str, str], ...], keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in where if pair[0] not in keys)


def _where(job: Job, plan: Sequence[Job]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in job.varied(plan).items() if key not in ("control", "control_draws"))
