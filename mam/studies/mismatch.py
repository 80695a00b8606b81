"""The effect of merging for pairs that differ in depth, width or heads, compared with pairs that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mam.config.merging import merges_nothing
from mam.config.schema import Config
from mam.records.reading import read_config, read_predictions
from mam.scoring.sign_flip import LEVEL
from mam.scoring.significance import Difference, holm
from mam.scoring.wording import excluded
from mam.studies.execute import Member
from mam.tasks import TASKS
from mam.tasks.task import ErrorCounts, paired

DIMENSIONS = ("layers", "width", "heads")


@dataclass(frozen=True)
class Mismatch:
    """Mean change by merging over the ``unequal`` pairs minus that over the ``equal`` ones.

    Each change is paired with its own baseline. ``dimension`` is the one in which target and source differ, ``where``
    what else the study varies. With only one pair on a side, the interval cannot include the variance between pairs.
    """

    dimension: str
    where: dict[str, str]
    unequal: int
    equal: int
    difference: Difference
    p_holm: float


def by_mismatch(members: Sequence[Member]) -> list[Mismatch]:
    """Compare pairs that differ with pairs that do not, in every dimension at each point of the study's axes.

    Only the real source is compared; p is adjusted. Dimensions in which no pair differs, or every pair, are left out.
    Pairs are treated as draws, so that their variance enters the interval (`paired_difference`).

    Raises:
        RecordError: predictions of a finished run are missing or broken.
    """
    plan = [member.job for member in members]
    points: dict[tuple[tuple[str, str], ...], list[Member]] = {}
    for member in members:
        config = member.job.config
        if member.outcome and config.control == "none" and not merges_nothing(config):
            varied = member.job.varied(plan).items()
            point = tuple((key, value) for key, value in varied if key not in ("arm", "control"))
            points.setdefault(point, []).append(member)
    rows: list[tuple[str, dict[str, str], int, int, Difference]] = []
    for where, runs in points.items():
        changes = [_change(member) for member in runs]
        for dimension in DIMENSIONS:
            unequal, equal = (
                [change for config, change in changes if _differs(config, dimension) == differs]
                for differs in (True, False)
            )
            if unequal and equal:
                # Changes have no rate that a difference could be relative to.
                difference = replace(paired(changes[0][0], unequal, equal), relative=None, relative_ci95=None)
                rows.append((dimension, dict(where), len(unequal), len(equal), difference))
    adjusted = holm([row[-1].p_value for row in rows])
    return [Mismatch(*row, p) for row, p in zip(rows, adjusted, strict=True)]


def _differs(config: Config, dimension: str) -> bool:
    return bool(getattr(config.model.target_shape, dimension) != getattr(config.model.source_shape, dimension))


def _change(member: Member) -> tuple[Config, ErrorCounts]:
    """Return the configuration of a run, and the errors of every example merged minus unmerged."""
    assert member.outcome is not None
    config = read_config(member.outcome.folder)
    task = TASKS[config.model.task]
    draws, baseline = read_predictions(member.outcome.folder)
    new, old = task.counted(config, draws[0]), task.counted(config, baseline)
    return config, replace(new, errors=new.errors - old.errors)


def conclusion(found: Sequence[Mismatch]) -> str:
    """Return one sentence on the mismatches that matter, or on the effects that the intervals exclude."""
    passed = [mismatch for mismatch in found if mismatch.p_holm < LEVEL and min(mismatch.unequal, mismatch.equal) > 1]
    if passed:
        findings = []
        for mismatch in passed:
            place = " ".join([mismatch.dimension, *(f"{key}={value}" for key, value in mismatch.where.items())])
            change = "fewer errors" if mismatch.difference.absolute < 0 else "more errors"
            findings.append(f"{place} ({change})")
        return f"pairs that do not fit change differently from pairs that do: {', '.join(findings)}"
    if all(mismatch.difference.changed == 0 for mismatch in found):
        return "no unit changed its number of errors, so nothing can be concluded about mismatches"
    limits = excluded(mismatch.difference for mismatch in found)
    return f"no effect of a mismatch was found; {limits}"
