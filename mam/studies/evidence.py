"""Evidence on whether the source's content matters: the real source against each control, on the same examples."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mam.config.job import Job
from mam.config.merging import merges_nothing
from mam.config.model import further_shapes, shapes, widths_differ
from mam.config.schema import Config
from mam.config.words import key_values
from mam.merging.tables import CONTROLS
from mam.records.reading import read_config, read_predictions
from mam.runs.question import RunOutcome
from mam.scoring.sign_flip import LEVEL
from mam.scoring.significance import Difference, holm
from mam.scoring.wording import enumerated, excluded
from mam.studies.execute import Member
from mam.studies.merges import same_merges
from mam.tasks import TASKS
from mam.tasks.task import ErrorCounts, paired
from mam.terminal import p_text

RIVALS_OF_CONTENT = ("shrink", "random_spectrum", "rotate", "shuffle_layers")  # each could explain a source's effect
RIVALS_WHEN_ALIGNED = ("aligned_random", "shuffle_layers")  # aligned and projected as the source is
PLAIN = "linear"  # in place of a control: the merge of the paper
ALIGN = ("align",)


@dataclass(frozen=True)
class Comparison:
    """The real source minus a control, both merged in the same way; ``where`` holds what else varies in the study.

    A control without structure is unaligned even if the source is aligned. ``p_holm`` is adjusted over all comparisons
    of the study. ``is_projected`` means that the source was taken to another width by a projection that was fitted to
    the target, which finds something in noise too.
    """

    where: dict[str, str]
    control: str
    difference: Difference
    p_holm: float
    is_projected: bool = False

    @property
    def is_significant(self) -> bool:
        """True if the difference is significant after the correction for the number of comparisons."""
        return self.p_holm < LEVEL

    @property
    def is_fitted(self) -> bool:
        """True if the source was fitted to the target, by an alignment or a projection."""
        return self.is_projected or self.where.get("align", "none") != "none"


@dataclass(frozen=True)
class MergedRun:
    """A finished run that merged something; ``where`` distinguishes it from others, apart from its control."""

    where: tuple[tuple[str, str], ...]
    control: str
    folder: Path
    key: Hashable  # equal for runs that differ only in their control
    unaligned: Hashable = None  # equal for runs that differ only in control and alignment
    is_projected: bool = False

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
        config, unaligned = member.job.config, _without(where, ALIGN)
        merged.append(MergedRun(where, config.control, outcome.folder, where, unaligned, _is_projected(config)))
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
    rows: list[tuple[MergedRun, str, Difference]] = []
    for control in controls:
        draws: list[ErrorCounts] = []
        for source in sources:
            if not _matches(source, control):
                continue
            if source.folder not in counts_by_folder:
                counts_by_folder[source.folder] = source.counted()[0]
            source_counts = counts_by_folder[source.folder]
            draws = draws or control.counted()
            rows.append((source, control.control, paired(control.config, [source_counts], draws)))
    adjusted = holm([difference.p_value for _, _, difference in rows])
    return [
        Comparison(dict(source.where), name, difference, p, source.is_projected)
        for (source, name, difference), p in zip(rows, adjusted, strict=True)
    ]


def _matches(source: MergedRun, control: MergedRun) -> bool:
    """Return whether the two were merged in the same way; for a control without structure alignment is ignored."""
    return source.unaligned == control.unaligned if _is_bare(control.control) else source.key == control.key


def _is_projected(config: Config) -> bool:
    """Return whether the source is taken to another width by a projection that is fitted to the target."""
    is_fit = config.on_mismatch == "project" and config.project != "random"
    target, source = shapes(config.model)
    return is_fit and any(widths_differ(config, target, one) for one in (source, *further_shapes(config.model)))


def _is_bare(control: str) -> bool:
    """Return whether a control leaves nothing of a source to align; one of a plug-in that is not loaded may."""
    return control in CONTROLS and not CONTROLS[control].has_structure


def conclusion(comparisons: Sequence[Comparison], n: int | str) -> str:
    """Return one sentence on whether the source's content matters; ``n`` examples were compared.

    It matters where the source differs, in one direction, from every one of `RIVALS_OF_CONTENT` merged in the same way:
    an effect that any of them has too need not come from the content. The p of such a place is the largest of its
    comparisons (intersection-union test, Berger 1982), with Holm's correction over places. An alignment or a projection
    finds something in noise too: a source that is fitted to the target is compared with `RIVALS_WHEN_ALIGNED`, and
    controls that are not are ignored.
    """
    fair = [comparison for comparison in comparisons if not (comparison.is_fitted and _is_bare(comparison.control))]
    fitted = "projected" if any(comparison.is_projected for comparison in comparisons) else "aligned"
    rest = "" if len(fair) == len(comparisons) else f"; controls that are not {fitted} as the source is are ignored"
    if not fair:
        return f"nothing can be concluded about the source's content: it was {fitted}, and its controls were not"
    places: dict[tuple[tuple[str, str], ...], dict[str, Comparison]] = {}
    rivals: dict[tuple[tuple[str, str], ...], tuple[str, ...]] = {}
    for comparison in fair:
        where = tuple(comparison.where.items())
        places.setdefault(where, {})[comparison.control] = comparison
        rivals[where] = RIVALS_WHEN_ALIGNED if comparison.is_fitted else RIVALS_OF_CONTENT
    complete = {where: by_control for where, by_control in places.items() if set(rivals[where]) <= set(by_control)}
    kinds = dict.fromkeys(rivals[where] for where in complete or places)
    listed = " (aligned: ".join(enumerated(kind) for kind in kinds) + ")" * (len(kinds) - 1)
    limits = excluded(comparison.difference for comparison in fair)
    if not complete:
        return (
            f"too few controls to tell whether the source's content matters: that takes {listed} at the same λ"
            f" (experiment=controls). Against the controls here, {limits}{rest}"
        )
    required = [[by_control[name] for name in rivals[where]] for where, by_control in complete.items()]
    adjusted = holm([_joint_p([comparison.difference for comparison in group]) for group in required])
    passed = [(where, group, p) for where, group, p in zip(complete, required, adjusted, strict=True) if p < LEVEL]
    if not passed:
        return (
            f"no evidence that the source's content matters (n = {n}): it was nowhere shown to differ from all of"
            f" {listed}; {limits}{rest}"
        )
    findings = []
    for where, group, p in passed:
        change = "better" if group[0].difference.absolute < 0 else "worse"
        place = f" at {_place(dict(where))}" if where else ""
        than = enumerated(rivals[where])
        findings.append(f"{change} than all of {than}{place} (largest p, Holm-adjusted: {p_text(p)})")
    return f"the source's content matters (n = {n}): it does {'; '.join(findings)}{rest}"


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
    pieces = [f"{word}: {', '.join(places)}" for word, places in (("better", better), ("worse", worse)) if places]
    if not pieces:
        limits = excluded(comparison.difference for comparison in comparisons)
        return f"no difference from linear, unaligned merging was found (n = {n}); {limits}"
    rest = f"; no difference was shown in {len(comparisons) - len(passed)} of {len(comparisons)} comparisons"
    return f"compared with linear, unaligned merging (n = {n}), {'; '.join(pieces)}{rest}"


def _place(where: Mapping[str, str]) -> str:
    return key_values(where)


def _without(where: tuple[tuple[str, str], ...], keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in where if pair[0] not in keys)


def _where(job: Job, plan: Sequence[Job]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in job.varied(plan).items() if key not in ("control", "control_draws"))
