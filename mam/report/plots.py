"""Pictures of a study, drawn by matplotlib without a display."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mam.config.words import key_values
from mam.files import atomic_path
from mam.records.result import RunResult
from mam.records.text import title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c2571a", "#3a7d44", "#7a4a9e", "#8a6d00", "#a33b5c", "#4d7c8a", "#5c5c5c", "#b08968", "#2f4858")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches."""
    from matplotlib.figure import Figure  # imported here: takes half a second, and most commands draw nothing

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def as_svg(figure: Figure, name: str, description: str) -> str:
    """Return the figure as an SVG element for the page.

    It uses the page's text colour, unique ids and a description for screen readers.

    Args:
        figure: the figure.
        name: prefix of the ids.
        description: read out by screen readers.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("#000000", "currentColor")
    svg = re.sub(r"(<text\b[^>]*?style=\")", r"\1fill: currentColor; ", svg)
    label = html.escape(description, quote=True)
    return re.sub(r"<svg\b", f'<svg role="img" aria-label="{label}" class="figure"', svg, count=1)


def differences(results: Sequence[tuple[Mapping[str, str], RunResult]], metric: str, title: str) -> Figure:
    """Return a figure of the runs that merged anything: their difference from the baseline with its interval.

    There is one row per label, coloured by control.

    Args:
        results: the settings that vary between the runs, and each result.
        metric: name of the metric, for the axis.
        title: above the picture.
    """
    merged = [(varied, result) for varied, result in results if result.is_merged]
    labels = [_label(varied) for varied, _ in merged]
    places = {label: len(set(labels)) - 1 - i for i, label in enumerate(dict.fromkeys(labels))}
    controls = list(dict.fromkeys(result.merge.control for _, result in merged))
    figure = new_figure(8, 1.6 + 0.32 * len(places) * max(1, len(controls) / 3))
    axes = figure.subplots()
    for number, control in enumerate(controls):
        rows = [(label, r) for label, (_, r) in zip(labels, merged, strict=True) if r.merge.control == control]
        offset = 0.7 * ((len(controls) - 1) / 2 - number) / len(controls)
        heights = [places[label] + offset for label, _ in rows]
        means = [100 * result.delta.absolute for _, result in rows]
        bounds = [result.delta.ci95 or [result.delta.absolute] * 2 for _, result in rows]
        spans = [[m - 100 * low for m, (low, _) in zip(means, bounds, strict=True)]]
        spans.append([100 * high - m for m, (_, high) in zip(means, bounds, strict=True)])
        name = "source" if control == "none" else control
        axes.errorbar(
            means,
            heights,
            xerr=spans,
            fmt="o",
            color=COLOURS[number % len(COLOURS)],
            label=name,
            markersize=4,
            capsize=2,
        )
    axes.axvline(0, color="#888888", linewidth=1)
    axes.set_yticks(list(places.values()), list(places))
    axes.set_xlabel(f"change of {metric} in points, with 95 % interval (left of the line is better)")
    axes.set_title(title, fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def curve(results: Sequence[tuple[Mapping[str, str], RunResult]], metric: str, chosen: set[int]) -> Figure:
    """Return a figure of the rate over λ, one line per combination of the other varying settings.

    The ribbon is the baseline plus the interval of the difference; the dashed line is λ=0.

    Args:
        results: the settings that vary between the runs, and each result.
        metric: name of the metric, for the axis.
        chosen: positions of the best on dev, which get a ring.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    first = results[0][1]
    base = 100 * first.baseline_rate
    lines: dict[str, list[tuple[float, int]]] = {}
    for i, (varied, result) in enumerate(results):
        lam = float(varied["lam"])
        rest = {name: value for name, value in varied.items() if name not in ("lam", "control")}
        control = "source" if result.merge.control == "none" else result.merge.control
        label = " ".join([control, *(f"{name}={value}" for name, value in rest.items())])
        if lam:
            lines.setdefault(label, []).append((lam, i))
    axes.axhline(base, color="#888888", linewidth=1, linestyle="--", label="λ=0")
    for number, (label, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        lams, places = zip(*sorted(points), strict=True)
        line_results = [results[i][1] for i in places]
        rates = [100 * result.rate for result in line_results]
        bounds = [result.delta.ci95 or [result.delta.absolute] * 2 for result in line_results]
        low = [100 * (result.baseline_rate + bound[0]) for result, bound in zip(line_results, bounds, strict=True)]
        high = [100 * (result.baseline_rate + bound[1]) for result, bound in zip(line_results, bounds, strict=True)]
        axes.fill_between((0, *lams), (base, *low), (base, *high), color=colour, alpha=0.12, linewidth=0)
        axes.plot((0, *lams), (base, *rates), "o-", color=colour, linewidth=1.4, markersize=3.5, label=label)
        for lam, rate, i in zip(lams, rates, places, strict=True):
            if i in chosen:
                axes.plot(lam, rate, "o", markersize=11, fillstyle="none", color=colour, label="best on dev")
    zero = [i for i, (varied, _) in enumerate(results) if float(varied["lam"]) == 0]
    if chosen & set(zero):
        axes.plot(0, base, "o", markersize=11, fillstyle="none", color="#444444", label="best on dev")
    axes.set_xlabel("λ, the share of the source")
    axes.set_ylabel(f"{metric} in %")
    title = f"{title_of(first)}; ribbons: 95 % interval of the difference from λ=0"
    axes.set_title(title, fontsize=9, loc="left")
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def is_number(text: str | None) -> bool:
    """Return whether λ in words is a number, which has a place on an axis: not a range, nor that of several sources."""
    return text is not None and text.replace(".", "", 1).replace("e-", "", 1).isdigit()


def _label(varied: Mapping[str, str]) -> str:
    return key_values(varied, but_for="control") or "all"
