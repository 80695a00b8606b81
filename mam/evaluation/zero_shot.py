"""Merging without training: what the merged target predicts, λ the same for all or chosen for each fold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mam.config.schema import Config, ScheduleConfig
from mam.evaluation.attention_statistics import Change
from mam.evaluation.measurement import Measured
from mam.evaluation.workbench import Predictions, Workbench
from mam.merge.controls import CONTROLS
from mam.merge.plan import MergePlan, plan_merge
from mam.tasks import TASKS
from mam.tasks.task import Judged

Lam = float | tuple[float, ...]  # one for all, by the schedule; or one for each target layer


def zero_shot(config: Config, bench: Workbench, lams: Mapping[str, Lam], baseline: Predictions) -> Measured:
    """Merge and predict, once or once a draw of a random control. At λ=0 the baseline is the answer.

    ``lams`` has one λ for all ("") or one a test fold. At the end the target is merged as it was last.
    """
    pair, audio, task = bench.pair(config), bench.audio(config), TASKS[config.model.task]
    labels = pair.target.labels if pair.target.readout == "scores" else None
    plans = {fold: plan_for(config, bench, lam) for fold, lam in lams.items()}
    plan = max(plans.values(), key=lambda one: sum(one.lams))
    draws = config.control_draws if CONTROLS[config.control].is_random and not plan.is_identity else 1
    merging, found = 0.0, dict[tuple[Lam, int], Predictions]()
    before = bench.unmerged_attention(config)
    for lam in sorted(set(lams.values()), key=np.sum):
        for draw in range(draws):
            start = time.perf_counter()
            made = plan_for(config, bench, lam, draw)
            pair.merger.apply(made)
            merging += time.perf_counter() - start
            label = f"merged, draw {draw + 1} of {draws}" if draws > 1 else "merged"
            found[lam, draw] = baseline if made.is_identity else bench.predict(config, plan.first, label)
    attention = Change(before, before, plan.layers) if plan.is_identity else bench.attention(config, plan.layers)
    sides = []
    for draw in range(draws):
        judged = []
        for fold, lam in lams.items():
            asked = config if not fold else replace(config, data=replace(config.data, fold=int(fold)))
            judged.append(task.judge(asked, audio, found[lam, draw].items, baseline.items, labels))
        sides.append(_together(judged))
    by_layer = [one.lams for one in plans.values()]
    done = [side for side in found.values() if side is not baseline]
    return Measured(
        sides=[one.merged for one in sides],
        baseline=sides[0].baseline,
        attention=attention,
        lams=tuple(float(mean) for mean in np.mean(by_layer, axis=0)),
        notes=[*sides[0].notes, *attention.findings(plan.lams)],
        head=sides[0].head,
        merging=merging,
        evaluating=sum(side.seconds for side in done or [baseline]),
        prefix=sum(side.prefix for side in done),
    )


def plan_for(config: Config, bench: Workbench, lam: Lam, draw: int = 0) -> MergePlan:
    """The merge that the configuration asks for, at another λ."""
    pair = bench.pair(config)
    if isinstance(lam, tuple):
        config, lam = replace(config, schedule=ScheduleConfig("list", values=list(lam))), 1.0
    return plan_merge(replace(config, lam=lam), pair.target.depth, pair.source.layers, draw)


def _together(judged: list[Judged]) -> Judged:
    """What was judged fold by fold as one."""
    if len(judged) == 1:
        return judged[0]
    head = judged[0].head and judged[0].head | {"folds": [fold for one in judged for fold in (one.head or {})["folds"]]}
    return Judged(
        [row for one in judged for row in one.merged],
        [row for one in judged for row in one.baseline],
        head,
        list(dict.fromkeys(note for one in judged for note in one.notes)),
    )
