"""The forest plot: one row per merge, its difference from the baseline with the interval, controls by the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mam.config.words import key_values
from mam.records.result import RunResult
from mam.report.plots import GREY, ROLES, new_figure, plain_axes, role_of
from mam.scoring.significance import Difference
from mam.terminal import interval, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Varied = Mapping[str, str]
ROW = 0.27  # inches
MARGINS = 1.5  # inches for title and axis
WIDTH, LETTER = 6.4, 0.075  # inches without labels, and for each letter of the longest one
ALL = "all merges"


def forest(results: Sequence[tuple[Varied, RunResult]], metric: str, title: str) -> Figure:
    """Return a figure of every run that merged anything, with its difference from the baseline and the interval.

    Runs that differ only in the control stand together, the source first.

    Args:
        results: the settings that vary between the runs, and each result.
        metric: name of the metric, for the axis.
        title: above the picture.
    """
    groups: dict[str, list[RunResult]] = {}
    for varied, result in results:
        if result.is_merged:
            groups.setdefault(_settings(varied), []).append(result)
    rows = [(label, result) for label, group in groups.items() for result in sorted(group, key=_order)]
    labels = _row_labels(rows)
    figure = new_figure(WIDTH + LETTER * max(map(len, labels)), MARGINS + ROW * len(rows))
    axes = figure.subplots()
    places = range(len(rows) - 1, -1, -1)  # the first row is at the top
    for place, (_, result) in zip(places, rows, strict=True):
        _draw_row(axes, place, result)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_yticks(list(places), labels)
    for tick, (_, result) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(role_of(result.merge.control).colour)
    _shade_groups(axes, [len(group) for group in groups.values()])
    _annotate(axes, places, [result.delta for _, result in rows])
    axes.set_xlabel(f"change of {metric} from the baseline in percentage points, with 95 % interval")
    axes.annotate("← better", (0, 1), (2, 3), "axes fraction", "offset points", color=GREY, fontsize=9)
    axes.annotate("worse →", (1, 1), (-2, 3), "axes fraction", "offset points", color=GREY, fontsize=9, ha="right")
    axes.set_title(" ", fontsize=9, pad=10)  # room for the two words above
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    plain_axes(axes)
    return figure


def _settings(varied: Varied) -> str:
    """Return the settings of a row, apart from the control: ``λ 0.05 layers=top2``."""
    lam = f"λ {varied['lam']}" if "lam" in varied else ""
    others = {key: value for key, value in varied.items() if key != "lam" and value not in ("", "merged")}
    return f"{lam} {key_values(others, but_for='control')}".strip() or ALL


def _order(result: RunResult) -> int:
    """Return the place among merges that differ only in the control: that of the source, then as in `ROLES`."""
    names = list(ROLES)
    return names.index(result.merge.control) if result.merge.control in names else len(names)


def _draw_row(axes: Axes, place: int, result: RunResult) -> None:
    role, change = role_of(result.merge.control), 100 * result.delta.absolute
    if result.delta.ci95 is not None:
        axes.plot([100 * end for end in result.delta.ci95], [place] * 2, color=role.colour, linewidth=1.8)
    axes.plot(change, place, role.marker, color=role.colour, markersize=5.5)


def _row_labels(rows: Sequence[tuple[str, RunResult]]) -> list[str]:
    """Return settings and role of each row; the settings only in the first row of those that share them."""
    if all(result.merge.control == "none" for _, result in rows):
        return [label for label, _ in rows]
    labels, before = [], ALL
    for label, result in rows:
        role = role_of(result.merge.control).name
        labels.append(role if label in (before, ALL) else f"{label} · {role}")
        before = label
    return labels


def _shade_groups(axes: Axes, sizes: Sequence[int]) -> None:
    """Shade every second group of rows."""
    top = sum(sizes) - 0.5
    for number, size in enumerate(sizes):
        if number % 2 and max(sizes) > 1:
            axes.axhspan(top - size, top, color=GREY, alpha=0.1, linewidth=0)
        top -= size


def _annotate(axes: Axes, places: Sequence[int], deltas: Sequence[Difference]) -> None:
    """Write each difference with its interval at the right of its row."""
    for place, delta in zip(places, deltas, strict=True):
        text = f"{points(delta.absolute)} {interval(delta.ci95)}"
        axes.annotate(text, (1, place), (6, 0), ("axes fraction", "data"), "offset points", fontsize=8, va="center")
