"""Pictures of a study: PNG by matplotlib, without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mam.files import atomic_path

COLOURS = ("#1f5fa8", "#c2571a", "#3a7d44", "#7a4a9e", "#8a6d00", "#a33b5c", "#4d7c8a", "#5c5c5c", "#b08968", "#2f4858")


def differences(
    path: Path, results: Sequence[tuple[Mapping[str, str], Mapping[str, Any]]], metric: str, title: str
) -> None:
    """One row a run that merged anything: its difference from the baseline with the interval, coloured by control.

    Args:
        path: of the PNG.
        results: what varies between the runs, and each result.
        metric: what the difference is one of.
        title: above the picture.
    """
    merged = [(varied, result) for varied, result in results if any(result["merge"]["lam"])]
    labels = [_label(varied) for varied, _ in merged]
    places = {label: len(set(labels)) - 1 - i for i, label in enumerate(dict.fromkeys(labels))}
    controls = list(dict.fromkeys(result["merge"]["control"] for _, result in merged))
    figure = Figure(figsize=(8, 1.6 + 0.32 * len(places) * max(1, len(controls) / 3)), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, control in enumerate(controls):
        rows = [(label, r) for label, (_, r) in zip(labels, merged, strict=True) if r["merge"]["control"] == control]
        offset = 0.7 * ((len(controls) - 1) / 2 - number) / len(controls)
        heights = [places[label] + offset for label, _ in rows]
        means = [100 * result["delta"]["absolute"] for _, result in rows]
        ends = [result["delta"]["ci95"] or [result["delta"]["absolute"]] * 2 for _, result in rows]
        spans = [[m - 100 * low for m, (low, _) in zip(means, ends, strict=True)]]
        spans.append([100 * high - m for m, (_, high) in zip(means, ends, strict=True)])
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
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _label(varied: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in varied.items() if key != "control") or "all"
