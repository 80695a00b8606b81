"""The result of comparable runs in a few sentences, which say no more than their tests."""

from __future__ import annotations

from collections.abc import Sequence

from mam.records.text import arm_text, metric_name
from mam.report.collect import Group
from mam.report.runs import Run
from mam.scoring.wording import Verdict, difference_text, excluded, judged
from mam.studies.evidence import Comparison, conclusion
from mam.terminal import percent

EFFECTS: dict[Verdict, str] = {
    "better": "This is better than without merging",
    "worse": "This is worse than without merging",
    "undecided": "No effect was shown",
}


def verdict(group: Group, comparisons: Sequence[Comparison]) -> list[str]:
    """Return the effect of the merge that dev chose, how many of all merges had one, and whether content matters."""
    tried = [run for run in group.runs if run.folder in group.adjusted]
    sentences = [_chosen_text(run) for run in group.chosen if not run.result.train]
    if len(tried) == 1 and tried[0] not in group.chosen:
        sentences.append(_effect_text(tried[0]))
    elif len(tried) > 1:
        sentences.append(_count_text(tried, group))
    if comparisons:
        sentences.append(_sentence(conclusion(comparisons, group.runs[0].result.data.n)))
    return sentences


def _chosen_text(run: Run) -> str:
    return _effect_text(run, ", chosen on dev") if run.result.is_merged else "On dev no λ was better than λ=0."


def _effect_text(run: Run, how: str = "") -> str:
    """Return the effect of one merge, tested alone."""
    result, delta = run.result, run.result.delta
    arm = arm_text(result).removeprefix("merged ")
    rates = f"{metric_name(result)} {percent(result.baseline_rate)} → {percent(result.rate)}"
    return f"{arm}{how}: {rates}, Δ {difference_text(delta)}. {EFFECTS[judged(delta)]}."


def _count_text(tried: Sequence[Run], group: Group) -> str:
    verdicts = [judged(run.result.delta, group.adjusted[run.folder]) for run in tried]
    better, worse = verdicts.count("better"), verdicts.count("worse")
    has_control = any(run.result.merge.control != "none" for run in tried)
    merges = f"{len(tried)} merges{' (controls included)' if has_control else ''}"
    if not better and not worse:
        return f"None of {merges} was shown to change the error rate; {excluded(run.result.delta for run in tried)}."
    return f"Shown to differ from the baseline (p < .05 after Holm), of {merges}: {better} better, {worse} worse."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
