"""Evidence on whether the source's content matters: the real source against each control, on the same examples."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mam.config.job import Job
from mam.config.merging import merges_nothing
from mam.config.schema import Config
from mam.config.words import key_values
from mam.merging.tables import CONTROLS
from mam.records.reading import read_config, read_predictions
from mam.runs.question import RunOutcome
from mam.scoring.sign_flip import LEVEL
from mam.scoring.significance import Difference, holm
from mam.scoring.wording import excluded
from mam.studies.execute import Member
from mam.studies.merges import same_merges
from mam.tasks import TASKS
from mam.tasks.task import ErrorCounts, paired
from mam.terminal import p_text

RIVALS_OF_CONTENT = ("shrink", "random_spectrum", "rotate", "shuffle_layers")  # each could explain a source's effect
RIVALS_WHEN_ALIGNED = ("aligned_random", "shuffle_layers")  # aligned as the source is
PLAIN = "linear"  # in place of a control: the merge of the paper
ALIGN = ("align",)


@dataclass(frozen=True)
class Comparison:
    """The real source minus a control, both merged in the same way; ``where`` holds what else varies in the study.

    A control without structure is unaligned even if the source is aligned. ``p_holm`` is adjusted over all comparisons
    of the study.
    """

    where: dict[str, str]
    control: str
    difference: Difference
    p_holm: float

    @property
    def is_significant(self) -> bool:
        """True if the difference is significant after the correction for the number of comparisons."""
        return self.p_holm < LEVEL


@dataclass(frozen=True)
class MergedRun:
    """A finished run that merged something; ``where`` distinguishes it from others, apart from its control."""

    where: tuple[tuple[str, str], ...]
    control: str
    folder: Path
    key: Hashable  # equal for runs that differ only in their control
    unaligned: Hashable = None  # equal for runs that differ only in control and alignment

    @cached_property
    def config(self) -> Config:
        """The configuration of the run. Raises RecordError, see `read_config`."""
        return read_config(self.folder)

    def counted(self) -> list[ErrorCounts]:
        """Return the errors of each draw. Raises RecordError if its predictions are missing or broken."""
        draws, _ = read_predictions(self.folder)
        return [TASKS[self.config.model.task].counted(self.config, rows) for rows in draws]


def against_controls(members: Sequence[Member]) -> list[Comparison]:
    """Compare the real source with every control merged in the same way. Raises the errors of `compared`."""
    plan = [member.job for member in members]
    merged = []
    for member, outcome in _distinct(members):
        where = _where(member.job, plan)
        merged.append(MergedRun(where, member.job.config.control, outcome.folder, where, _without(where, ALIGN)))
    return compared(merged)


def against_plain(members: Sequence[Member]) -> list[Comparison]:
    """Compare the linear, unaligned merge with every other method and alignment of the real source in the same place.

    ``control`` of a comparison is then `PLAIN`. Raises the errors of `compared`.
    """
    plan, merged = [member.job for member in members], []
    for member, outcome in _distinct(members):
        config = member.job.config
        if config.control == "none":
            where = _where(member.job, plan)
            is_plain = (config.method.name, config.align, config.repair) == ("linear", "none", "none")
            arm = () if config.study.pairs else ("arm",)  # with study.pairs the arm names the pair
            key = _without(where, (*ALIGN, *arm, "method", "repair"))
            merged.append(MergedRun(where, PLAIN if is_plain else "none", outcome.folder, key))
    return compared(merged)


def _distinct(members: Sequence[Member]) -> list[tuple[Member, RunOutcome]]:
    """Return the finished runs that merged anything, and only the first of those that made the same merge."""
    finished = [
        (member, member.outcome)
        for member in members
        if member.outcome is not None and not merges_nothing(member.job.config)
    ]
    return [finished[i] for i in same_merges([outcome.result for _, outcome in finished])]


def compared(merged: Sequence[MergedRun]) -> list[Comparison]:
    """Compare every control with the real source merged in the same place, in the order of the runs.

    The draws of a random control are averaged, and their variance enters the interval (`paired_difference`).

    Raises:
        RecordError: predictions of a finished run are missing or broken.
    """
    controls = [run for run in merged if run.control != "none"]
    sources = [run for run in merged if run.control == "none"]
    counts_by_folder: dict[Path, ErrorCounts] = {}
    rows: list[tuple[dict[str, str], str, Difference]] = []
    for control in controls:
        draws: list[ErrorCounts] = []
        for source in sources:
            if not _matches(source, control):
                continue
            if source.folder not in counts_by_folder:
                counts_by_folder[source.folder] = source.counted()[0]
            source_counts = counts_by_folder[source.folder]
            draws = draws or control.counted()
            rows.append((dict(source.where), control.control, paired(control.config, [source_counts], draws)))
    adjusted = holm([difference.p_value for _, _, difference in rows])
    return [Comparison(*row, p) for row, p in zip(rows, adjusted, strict=True)]


def _matches(source: MergedRun, control: MergedRun) -> bool:
    """Return whether the two were merged in the same way; for a control without structure alignment is ignored."""
    return source.unaligned == control.unaligned if _is_bare(control.control) else source.key == control.key


def _is_bare(control: str) -> bool:
    """Return whether a control leaves nothing of a source to align; one of a plug-in that is not loaded may."""
    return control in CONTROLS and not CONTROLS[control].has_structure


def conclusion(comparisons: Sequence[Comparison], n: int | str) -> str:
    """Return one sentence on whether the source's content matters; ``n`` examples were compared.

    It matters where the source differs, in one direction, from every one of `RIVALS_OF_CONTENT` merged in the same way:
    an effect that any of them has too need not come from the content. The p of such a place is the largest of its
    comparisons (intersection-union test, Berger 1982), with Holm's correction over places. An alignment finds something
    in noise too: an aligned source is compared with `RIVALS_WHEN_ALIGNED`, and unaligned controls are ignored.
    """
    fair = [
        comparison
        for comparison in comparisons
        if comparison.where.get("align", "none") == "none" or not _is_bare(comparison.control)
    ]
    rest = "" if len(fair) == len(comparisons) else "; an aligned source is not compared with unaligned controls"
    if not fair:
        return "nothing follows for the source's content: it was aligned, and its controls are not"
    places: dict[tuple[tuple[str, str], ...], dict[str, Comparison]] = {}
    for comparison in fair:
        places.setdefault(tuple(comparison.where.items()), {})[comparison.control] = comparison
    complete = {where: by_control for where, by_control in places.items() if set(_rivals(where)) <= set(by_control)}
    kinds = dict.fromkeys(map(_rivals, complete or places))
    listed = " (aligned: ".join(", ".join(kind) for kind in kinds) + ")" * (len(kinds) - 1)
    limits = excluded(comparison.difference for comparison in fair)
    if not complete:
        return (
            f"this cannot tell whether the source's content matters: that takes {listed} at the same λ"
            f" (experiment=controls). Against the controls here {limits}{rest}"
        )
    required = [[by_control[name] for name in _rivals(where)] for where, by_control in complete.items()]
    adjusted = holm([_joint_p([comparison.difference for comparison in group]) for group in required])
    passed = [(where, group, p) for where, group, p in zip(complete, required, adjusted, strict=True) if p < LEVEL]
    if not passed:
        return (
            f"no evidence that the source's content matters at n = {n}: at no place was it shown to differ from all of"
            f" {listed}; {limits}{rest}"
        )
    findings = []
    for where, group, p in passed:
        change = "better" if group[0].difference.absolute < 0 else "worse"
        place = f" at {_place(dict(where))}" if where else ""
        than = ", ".join(_rivals(where))
        findings.append(f"{change} than all of {than}{place} (largest p, after Holm over places: {p_text(p)})")
    return f"the source's content matters at n = {n}: it does {'; '.join(findings)}{rest}"


def _rivals(where: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return the controls from which a source at this place must differ."""
    return RIVALS_OF_CONTENT if dict(where).get("align", "none") == "none" else RIVALS_WHEN_ALIGNED


def _joint_p(differences: Sequence[Difference]) -> float:
    """Return p of a difference from all at once in one direction; 1 if the directions differ."""
    same = all(difference.absolute < 0 for difference in differences) or all(
        difference.absolute > 0 for difference in differences
    )
    return max(difference.p_value for difference in differences) if same else 1.0


def rivalry(comparisons: Sequence[Comparison], n: int | str) -> str:
    """Return one sentence on methods and alignments against linear, unaligned merging of ``n`` examples."""
    passed = [comparison for comparison in comparisons if comparison.is_significant]
    better, worse = (
        [_place(comparison.where) for comparison in passed if (comparison.difference.absolute < 0) == is_better]
        for is_better in (True, False)
    )
    pieces = [f"{word} {', '.join(places)}" for word, places in (("better", better), ("worse", worse)) if places]
    if not pieces:
        limits = excluded(comparison.difference for comparison in comparisons)
        return f"no difference from linear, unaligned merging was found at n = {n}; {limits}"
    rest = f" ({len(comparisons) - len(passed)} of {len(comparisons)} comparisons were not shown to differ)"
    return f"against linear, unaligned merging at n = {n}: {' and '.join(pieces)}{rest}"


def _place(where: Mapping[str, str]) -> str:
    return key_values(where)


def _without(where: tuple[tuple[str, str], ...], keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in where if pair[0] not in keys)


def _where(job: Job, plan: Sequence[Job]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in job.varied(plan).items() if key not in ("control", "control_draws"))
