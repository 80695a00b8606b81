"""The analysis of all runs of a study, as recorded in `study.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mam.config.study import StudyConfig
from mam.records.result import RunResult, plain
from mam.studies.evidence import Comparison, against_controls, against_plain, conclusion, rivalry
from mam.studies.execute import Member
from mam.studies.mismatch import Mismatch, by_mismatch
from mam.studies.similarity import Prediction, predictions_by_similarity
from mam.studies.trainings import ArmComparison, Stability, compared_arms, idle_reference, stability

if TYPE_CHECKING:  # it imports torch, without which a finished study is shown
    from mam.merging.similarity import LayerSimilarities

MULTIRUN = "multirun"  # name of a sweep


@dataclass(frozen=True)
class StudyAnalysis:
    """The comparisons of a study with at least one finished run.

    Attributes:
        name: of the study; `MULTIRUN` for a sweep.
        members: every job and its outcome, in the order of the plan.
        comparisons: the source against each control.
        rivals: other methods and alignments against linear, unaligned merging.
        mismatches: the effect of each kind of mismatch, if the study shows it.
        arms: trained arms against the reference and their twins.
        stability: the λ learnt with each seed, by control, if the study shows it.
        idle: seeds at which the reference itself had no effect.
        predictions: the effect of single layers by their similarity, if the study shows it.
    """

    name: str
    members: Sequence[Member]
    comparisons: list[Comparison]
    rivals: list[Comparison]
    mismatches: list[Mismatch]
    arms: list[ArmComparison]
    stability: dict[str, Stability]
    idle: list[str]
    predictions: list[Prediction]

    @property
    def stem(self) -> str:
        """Stem of the names of its files."""
        return "sweep" if self.name == MULTIRUN else "study"

    @property
    def finished(self) -> list[tuple[dict[str, str], RunResult]]:
        """The result of each finished run, with the settings that vary between runs."""
        plan = [member.job for member in self.members]
        return [(member.job.varied(plan), member.outcome.result) for member in self.members if member.outcome]

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        return self.members[0].job.config.study.reference or ""

    @property
    def n(self) -> str:
        """Number of examples, of every data set if they differ."""
        return ", ".join(map(str, dict.fromkeys(result.data.n for _, result in self.finished)))

    @property
    def conclusion(self) -> str | None:
        """One sentence on whether the source's content matters; None without controls."""
        return conclusion(self.comparisons, self.n) if self.comparisons else None

    @property
    def rivalry(self) -> str | None:
        """One sentence on methods and alignments; None if only one was used."""
        return rivalry(self.rivals, self.n) if self.rivals else None

    def as_dict(self, best_on_dev: set[int]) -> dict[str, Any]:
        """Return the content of ``study.json``; ``best_on_dev`` are positions among the finished runs."""
        finished = self.finished
        return {
            "name": self.name,
            "runs": [self._run(member) for member in self.members],
            "best_on_dev": [varied for i, (varied, _) in enumerate(finished) if i in best_on_dev],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "conclusion": self.conclusion,
            "rivals": [asdict(rival) for rival in self.rivals],
            "rivalry": self.rivalry,
            "mismatches": [asdict(mismatch) for mismatch in self.mismatches],
            "versus": [asdict(arm) for arm in self.arms],
            "predictions": [asdict(prediction) for prediction in self.predictions],
            "stability": {control: asdict(scatter) for control, scatter in self.stability.items()} or None,
        }

    def _run(self, member: Member) -> dict[str, Any]:
        varied: dict[str, Any] = {"varied": member.job.varied([other.job for other in self.members])}
        if member.outcome is None:
            return varied | {"left_out" if member.is_unfit else "error": member.error}
        result = member.outcome.result
        parts = {key: plain(getattr(result, key)) for key in ("metrics", "baseline", "delta", "dev")}
        return varied | {"folder": str(member.outcome.folder)} | parts


def analyse(
    study: StudyConfig, name: str, members: Sequence[Member], similarities: Sequence[LayerSimilarities] = ()
) -> StudyAnalysis:
    """Compare the runs of a study in every way that they allow, and compute what ``study.show`` lists.

    ``similarities`` of the layers of both models are needed for ``study.show=[similarity]``.

    Raises:
        RecordError: predictions of a finished run are missing or broken.
    """
    results = [member.outcome.result for member in members if member.outcome]
    return StudyAnalysis(
        name=name,
        members=members,
        comparisons=against_controls(members),
        rivals=against_plain(members),
        mismatches=by_mismatch(members) if "mismatch" in study.show else [],
        arms=compared_arms(members),
        stability=_stabilities(results) if "stability" in study.show else {},
        idle=idle_reference(members),
        predictions=predictions_by_similarity(members, similarities),
    )


def _stabilities(results: Sequence[RunResult]) -> dict[str, Stability]:
    """Return λ over seeds, for the source and for each control in its place."""
    by_control: dict[str, list[RunResult]] = {}
    for result in results:
        by_control.setdefault(result.merge.control, []).append(result)
    return {control: stability(runs) for control, runs in by_control.items()}
