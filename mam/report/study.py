"""What a study shows, and leaves beside its runs: `study.json` and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mam.files import write_json
from mam.report.evidence import show_evidence, show_mismatches, show_plain
from mam.report.lambdas import draw_lambdas
from mam.report.plots import curve, differences, save
from mam.report.tables import best_on_dev, metric_of, show_study
from mam.report.trainings import draw_stability, show_stability, show_versus
from mam.studies.evidence import Comparison, against_controls, against_plain, conclusion, rivalry
from mam.studies.execute import Ended
from mam.studies.mismatch import Mismatch, by_mismatch
from mam.studies.trainings import Stability, Versus, against_ft, idle_ft, stability
from mam.terminal import Terminal


def report_study(terminal: Terminal, ended: Sequence[Ended], folder: Path, name: str) -> None:
    """Everything a study has to show: its runs, the source against controls, trainings against FT, what failed."""
    plan = [end.job for end in ended]
    done = [(end, end.outcome) for end in ended if end.outcome]
    for _, outcome in done:
        if outcome.status == "finished":
            draw_lambdas(outcome.folder, outcome.result)
    if done:
        shown = [(end.job.varied(plan), outcome.result) for end, outcome in done]
        show_study(terminal, shown, [word for word in plan[0].overrides if all(word in j.overrides for j in plan)])
        comparisons, versus, rivals = against_controls(ended), against_ft(ended), against_plain(ended)
        if rivals:
            show_plain(terminal, rivals, shown[0][1]["data"]["n"])
        if comparisons:
            show_evidence(terminal, comparisons, shown[0][1]["data"]["n"])
        mismatches = by_mismatch(ended) if name == "compatibility" else []
        if mismatches:
            show_mismatches(terminal, mismatches)
        if versus:
            show_versus(terminal, versus, idle_ft(ended))
        scatter = _stabilities([result for _, result in shown]) if name == "lambda_stability" else {}
        for control, found in scatter.items():
            show_stability(terminal, found, control)
        record_study(folder, name, ended, comparisons, versus, scatter, rivals, mismatches)
        terminal.say(f"files   {folder}")
    skipped = sum(outcome.status == "skipped" for _, outcome in done)
    failed = [end for end in ended if end.error and not end.is_unfit]
    unfit = [end for end in ended if end.is_unfit]
    terminal.say("")
    left_out = f", {len(unfit)} left out" if unfit else ""
    counts = f"{len(done) - skipped} finished now, {skipped} skipped, {len(failed)} failed{left_out}"
    terminal.say(f"{len(ended)} runs: {counts}")
    for reason in dict.fromkeys(str(end.error) for end in unfit):
        times = sum(end.error == reason for end in unfit)
        terminal.say(f"left out ({times} runs): {reason}")
    for message in dict.fromkeys(str(end.error) for end in failed):
        which = [" ".join(end.job.overrides) for end in failed if end.error == message]
        logs = [str(end.log) for end in failed if end.error == message and end.log]
        terminal.error(f"{'; '.join(which)}: {message}" + (f"\nlog: {', '.join(dict.fromkeys(logs))}" if logs else ""))


def record_study(
    folder: Path,
    name: str,
    ended: Sequence[Ended],
    comparisons: Sequence[Comparison],
    versus: Sequence[Versus] = (),
    scatter: Mapping[str, Stability] | None = None,
    rivals: Sequence[Comparison] = (),
    mismatches: Sequence[Mismatch] = (),
) -> None:
    """Write ``folder/study.json`` (``sweep.json`` of a multirun), and pictures where any run merged anything.

    ``study.png`` (``sweep.png``) has all differences; ``curve.png`` the rate over λ, where that varies on one data set.

    ``study.json``: name, runs (what varies, folder or error, metrics, baseline, delta), comparisons of the source with
    each control, and the conclusion from them (null where there is no control); ``rivals``, other methods and
    alignments against the linear, unaligned merge, and ``rivalry``, what follows; ``mismatches``, the effect of each
    kind of mismatch; of trainings ``versus``, each method against FT by seed and over seeds, and ``stability``, the λ
    that seeds learnt, by control.
    """
    plan, stem = [end.job for end in ended], "sweep" if name == "multirun" else "study"
    done = [(end.job.varied(plan), end.outcome) for end in ended if end.outcome]
    chosen = best_on_dev([outcome.result for _, outcome in done])
    first = done[0][1].result
    write_json(
        folder / f"{stem}.json",
        {
            "name": name,
            "runs": [
                {"varied": end.job.varied(plan)}
                | (
                    {"folder": str(end.outcome.folder)}
                    | {key: end.outcome.result.get(key) for key in ("metrics", "baseline", "delta", "dev")}
                    if end.outcome
                    else {"left_out" if end.is_unfit else "error": end.error}
                )
                for end in ended
            ],
            "best_on_dev": [varied for i, (varied, _) in enumerate(done) if i in chosen],
            "comparisons": [asdict(one) for one in comparisons],
            "conclusion": conclusion(comparisons, first["data"]["n"]) if comparisons else None,
            "rivals": [asdict(one) for one in rivals],
            "rivalry": rivalry(rivals, first["data"]["n"]) if rivals else None,
            "mismatches": [asdict(one) for one in mismatches],
            "versus": [asdict(one) for one in versus],
            "stability": {control: asdict(found) for control, found in (scatter or {}).items()} or None,
        },
    )
    results = [(varied, outcome.result) for varied, outcome in done]
    if any(any(result["merge"]["lam"]) for _, result in results):
        title = f"{first['model']['name']} on {first['data']['name']}"
        save(differences(results, metric_of(first)[1], title), folder / f"{stem}.png")
        lams = {varied.get("lam") for varied, _ in results}
        if len(lams) > 2 and None not in lams and len({r["baseline"].get(metric_of(r)[0]) for _, r in results}) == 1:
            save(curve(results, metric_of(first)[1], chosen), folder / "curve.png")
    for control, found in (scatter or {}).items():
        title = f"{first['model']['name']} on {first['data']['name']}"
        beside = "" if control == "none" else f"-{control}"
        draw_stability(folder / f"stability{beside}.png", found, title + (f", {control}" if beside else ""))


def _stabilities(results: Sequence[Mapping[str, Any]]) -> dict[str, Stability]:
    """λ over seeds, from the source and from each control in its place."""
    controls = dict.fromkeys(result["merge"]["control"] for result in results)
    return {one: stability([r for r in results if r["merge"]["control"] == one]) for one in controls}
