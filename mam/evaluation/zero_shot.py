"""Merging without training: predictions of the merged target, with one λ for all or one chosen for each fold."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mam.config.schema import Config
from mam.evaluation.attention_statistics import AttentionChange
from mam.evaluation.measurement import Measurement
from mam.evaluation.model_pair import ModelPair
from mam.evaluation.workbench import Readings, Workbench
from mam.merging.merger import MergeReport
from mam.merging.pairing import MEASURED
from mam.merging.plan import MergePlan
from mam.tasks import TASKS
from mam.tasks.task import Judgement

# One number, used by the schedule; or one per target layer, of several sources for each in turn.
Lam = float | tuple[float, ...]


@dataclass(frozen=True)
class Draw:
    """One draw of a merge: the report, the readings of the merged target, and the time of merging in seconds."""

    report: MergeReport
    readings: Readings
    merging: float


def zero_shot(config: Config, bench: Workbench, plans: Mapping[str, MergePlan], baseline: Readings) -> Measurement:
    """Merge and predict once, or once per draw of a random control. At λ=0 the baseline is returned.

    Args:
        config: the configuration of the run.
        bench: shared by all runs.
        plans: one merge for all ("") or one per test fold. The target is left in the state of the last merge.
        baseline: the readings of the unmerged target.
    """
    task, audio, target = TASKS[config.model.task], bench.audio(config), bench.pair(config).target
    labels = target.labels if target.readout == "scores" else None
    before = bench.unmerged_attention(config)
    largest = max(plans.values(), key=_total)
    draws = largest.draws
    merges_by_lams: dict[tuple[float, ...], list[Draw]] = {}
    for plan in sorted(plans.values(), key=_total):
        if plan.lams_by_source not in merges_by_lams:
            merges_by_lams[plan.lams_by_source] = [
                _merged(config, bench, plan, draw, draws, baseline) for draw in range(draws)
            ]
    unchanged = AttentionChange(before, before, largest.layers)
    attention = unchanged if largest.is_identity else bench.attention(config, largest.layers)
    sides = []
    for draw in range(draws):
        judged = []
        for fold, plan in plans.items():
            fold_config = config if not fold else replace(config, data=replace(config.data, fold=int(fold)))
            items = merges_by_lams[plan.lams_by_source][draw].readings.items
            judged.append(task.judge(fold_config, audio, items, baseline.items, labels))
        sides.append(_together(judged))
    merges = [merge for repeats in merges_by_lams.values() for merge in repeats]
    computed = [merge.readings for merge in merges if merge.readings is not baseline]
    return Measurement(
        plan=largest,
        report=merges_by_lams[largest.lams_by_source][0].report,
        sides=[side.merged for side in sides],
        baseline=sides[0].baseline,
        attention=attention,
        lams_by_source=tuple(map(float, np.mean([plan.lams_by_source for plan in plans.values()], axis=0))),
        notes=[*sides[0].notes, *attention.findings(largest.lams)],
        head=sides[0].head,
        merging=sum(merge.merging for merge in merges),
        evaluating=sum(readings.seconds for readings in computed or [baseline]),
        prefix=sum(readings.prefix for readings in computed),
    )


def plan_for(config: Config, pair: ModelPair, lam: Lam) -> MergePlan:
    """Return the configured merge at another λ."""
    activations = pair.merger.activations
    is_measured = config.pairing in MEASURED and activations is not None
    partners = activations.partners() if is_measured and activations is not None else None
    if not isinstance(lam, tuple):
        return pair.plan(replace(config, lam=lam), partners)
    return pair.plan(config, partners).at(lam)


def _merged(config: Config, bench: Workbench, plan: MergePlan, draw: int, draws: int, baseline: Readings) -> Draw:
    """Merge one draw and predict."""
    start = time.perf_counter()
    report = bench.pair(config).merger.apply(plan.drawn(draw))
    merging = time.perf_counter() - start
    if plan.is_identity:
        return Draw(report, baseline, merging)
    label = f"merged, draw {draw + 1} of {draws}" if draws > 1 else "merged"
    return Draw(report, bench.predict(config, plan.first, label), merging)


def _total(plan: MergePlan) -> float:
    return sum(plan.lams)


def _together(judged: Sequence[Judgement]) -> Judgement:
    """Return the judgements of all folds as one."""
    first = judged[0]
    if len(judged) == 1:
        return first
    folds = [fold for judgement in judged if judgement.head is not None for fold in judgement.head.folds]
    return Judgement(
        merged=[row for judgement in judged for row in judgement.merged],
        baseline=[row for judgement in judged for row in judgement.baseline],
        head=None if first.head is None else replace(first.head, folds=folds),
        notes=list(dict.fromkeys(note for judgement in judged for note in judgement.notes)),
    )
