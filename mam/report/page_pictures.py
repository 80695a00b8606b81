"""The pictures of a group of runs on the page, also written as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mam.records.result import RunResult
from mam.records.text import metric_name
from mam.report.collect import Group
from mam.report.curve import curve, is_number
from mam.report.forest import forest
from mam.report.lambdas import lambdas_figure
from mam.report.plots import as_svg, save
from mam.report.runs import Run
from mam.report.study_table import best_on_dev

COURSES = 4  # trainings whose λ are drawn
CAUSED = ("tuned",)  # traits of a search, which say nothing about the merge
DRAWN = 60  # most merges in a forest plot; with more rows it adds nothing to the table


@dataclass(frozen=True)
class Picture:
    """A figure of the page: SVG and caption."""

    svg: str
    caption: str


def pictures(group: Group, name: str, folder: Path) -> tuple[list[Picture], list[Picture]]:
    """Return the forest plot, if there is one, and the further pictures; the PNG files go to ``folder/pictures``."""
    metric = metric_name(group.runs[0].result)

    def drawn(figure: Any, kind: str, caption: str) -> Picture:
        save(figure, folder / "pictures" / f"{name}-{kind}.png")
        return Picture(as_svg(figure, f"{name}-{kind}", caption), caption)

    merged = [run for run in group.runs if run.result.is_merged]
    first: list[Picture] = []
    further: list[Picture] = []
    if 0 < len(merged) <= DRAWN:
        rows = _varied(merged, group.varied)
        caption = f"Change of {metric} with its 95 % interval; left of the line is better than the baseline."
        first.append(drawn(forest(rows, metric, group.title), "forest", caption))
    tried = _varied([run for run in group.runs if _has_place_on_axis(run)], group.varied)
    if len({varied.get("lam") for varied, _ in tried}) > 2:
        chosen = best_on_dev([result for _, result in tried])
        ring = "; ring: best on dev" if chosen else ""
        caption = f"{metric} over λ. Bars: 95 % interval of the difference from λ=0{ring}."
        further.append(drawn(curve(tried, metric, chosen), "curve", caption))
    learnt = [run for run in group.runs if run.result.train and run.result.train.is_lmam]
    for place, run in enumerate(learnt[:COURSES]):
        what = ", ".join(f"{key} {run.traits[key]}" for key in group.varied if key != "lam")
        caption = f"λ learnt{f' ({what})' if what else ''}: over the steps of training, and at its end over depth."
        further.append(drawn(lambdas_figure(run.folder, run.result), f"lambda{place}", caption))
    return first, further


def _has_place_on_axis(run: Run) -> bool:
    return not run.result.train and is_number(run.traits["lam"])


def _varied(runs: Sequence[Run], keys: Sequence[str]) -> list[tuple[dict[str, str], RunResult]]:
    """Return the traits in which the runs differ, apart from those that only their controls cause."""
    traits = [{key: run.traits[key] for key in keys if key not in CAUSED} | _asked(run, keys) for run in runs]
    varied = [key for key in traits[0] if len({one[key] for one in traits}) > 1] if traits else []
    return [({key: one[key] for key in varied}, run.result) for one, run in zip(traits, runs, strict=True)]


def _asked(run: Run, keys: Sequence[str]) -> dict[str, str]:
    """Return the parts that were asked for; some controls merge fewer."""
    asked = run.result.merge.parts_asked
    return {"parts": asked} if asked and "parts" in keys else {}
