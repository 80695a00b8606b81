"""The error rate over λ, one line per control and combination of other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mam.config.words import key_values
from mam.records.result import RunResult
from mam.records.text import title_of
from mam.report.plots import GREY, new_figure, plain_axes, role_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CROWDED = 0.06  # least distance of two λ on a linear axis, as a share of its length
MOST = 4  # lines in one panel
BARS: dict[str, Any] = {"markersize": 4.5, "capsize": 2, "linewidth": 1.2}
STYLES = ("-", "--", ":", "-.")
RING: dict[str, Any] = {"marker": "o", "markersize": 11, "fillstyle": "none", "linestyle": "none"}


@dataclass(frozen=True)
class _Line:
    """The runs of one control with the same other settings, ``rest``, by λ; ``positions`` are those of the runs."""

    control: str
    rest: str
    lams: list[float]
    positions: list[int]

    @property
    def label(self) -> str:
        return f"{role_of(self.control).name} {self.rest}".strip()


def curve(results: Sequence[tuple[Mapping[str, str], RunResult]], metric: str, chosen: set[int]) -> Figure:
    """Return a figure of the rate over λ with error bars: the 95 % interval of the difference from λ=0.

    The ticks are the λ that were run. If they are too close for a linear axis, they are spaced evenly. If there are
    more than `MOST` lines, each control has a panel of its own, beside the source.

    Args:
        results: the settings that vary between the runs, and each result.
        metric: name of the metric, for the axis.
        chosen: positions of the best on dev, which get a ring.
    """
    lines = _lines(results)
    lams = sorted({0.0, *(lam for line in lines for lam in line.lams)})
    is_even, places = _places(lams)
    panels = _panels(lines)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = new_figure(*((7.2, 4.0) if columns == 1 else (3.4 * columns, 3.0 * rows)))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, [result for _, result in results], places, chosen)
        axes.legend(fontsize=8, frameon=False)
        axes.set_xticks(list(places.values()), [f"{lam:g}" for lam in lams])
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("λ, the share of the source" + (" (evenly spaced)" if is_even else ""), fontsize=10)
    figure.supylabel(f"{metric} in %", fontsize=10)
    title = f"{title_of(results[0][1])}; bars: 95 % interval of the difference from λ=0"
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure


def is_number(text: str | None) -> bool:
    """Return whether λ in words is a number, which has a place on an axis: not a range, nor that of several sources."""
    return text is not None and text.replace(".", "", 1).replace("e-", "", 1).isdigit()


def _lines(results: Sequence[tuple[Mapping[str, str], RunResult]]) -> list[_Line]:
    """Return the lines of the merges; λ=0 belongs to all of them."""
    points: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for i, (varied, result) in enumerate(results):
        lam = float(varied["lam"])
        rest = key_values({name: value for name, value in varied.items() if name != "lam"}, but_for="control")
        if lam:
            points.setdefault((result.merge.control, rest), []).append((lam, i))
    return [
        _Line(control, rest, [lam for lam, _ in sorted(found)], [i for _, i in sorted(found)])
        for (control, rest), found in points.items()
    ]


def _places(lams: Sequence[float]) -> tuple[bool, dict[float, float]]:
    """Return whether λ are spaced evenly on the axis, and the place of each."""
    is_even = min(b - a for a, b in pairwise(lams)) < CROWDED * (lams[-1] - lams[0])
    return is_even, {lam: float(i) if is_even else lam for i, lam in enumerate(lams)}


def _panels(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Return the lines of each panel: all in one, or the source with each control in turn."""
    controls = list(dict.fromkeys(line.control for line in lines if line.control != "none"))
    if len(lines) <= MOST or not controls:
        return [list(lines)]
    return [[line for line in lines if line.control in ("none", control)] for control in controls]


def _draw_panel(
    axes: Axes, lines: Sequence[_Line], results: Sequence[RunResult], places: Mapping[float, float], chosen: set[int]
) -> None:
    """Draw some lines, moved apart by a fraction of the least distance of two λ, so that their bars do not overlap."""
    base = 100 * results[0].baseline_rate
    axes.axhline(base, color=GREY, linewidth=1, linestyle="--", label="λ=0")
    gap = min(b - a for a, b in pairwise(places.values()))
    rests = list(dict.fromkeys(line.rest for line in lines))
    for number, line in enumerate(lines):
        role = role_of(line.control)
        shift = 0.3 * gap * (number - (len(lines) - 1) / 2) / len(lines)
        xs = [places[lam] + shift for lam in line.lams]
        found = [results[i] for i in line.positions]
        rates = [100 * result.rate for result in found]
        style = STYLES[rests.index(line.rest) % len(STYLES)]
        axes.plot([places[0.0], *xs], [base, *rates], style, color=role.colour, linewidth=1.2, alpha=0.6)
        axes.errorbar(xs, rates, _spans(found), fmt=role.marker, color=role.colour, label=line.label, **BARS)
        for x, rate, i in zip(xs, rates, line.positions, strict=True):
            if i in chosen:
                axes.plot(x, rate, color=role.colour, label="best on dev", **RING)
    if any(not results[i].is_merged for i in chosen):
        axes.plot(places[0.0], base, color=GREY, label="best on dev", **RING)
    plain_axes(axes)


def _spans(results: Sequence[RunResult]) -> list[list[float]]:
    """Return how far the interval of each difference reaches below and above it, in percentage points."""
    changes = [result.delta.absolute for result in results]
    bounds = [result.delta.ci95 or (result.delta.absolute,) * 2 for result in results]
    below = [100 * (change - low) for change, (low, _) in zip(changes, bounds, strict=True)]
    above = [100 * (high - change) for change, (_, high) in zip(changes, bounds, strict=True)]
    return [[max(0.0, span) for span in spans] for spans in (below, above)]
