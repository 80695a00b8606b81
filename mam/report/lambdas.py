"""Pictures of learnt λ: over the training steps, and at the end over depth."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

from mam.errors import MamError, RecordError
from mam.records.reading import LAMBDA
from mam.records.result import RunResult
from mam.records.text import title_of
from mam.records.validity import AGAIN
from mam.report.plots import COLOURS, new_figure, plain_axes, save
from mam.small_files import text_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# (fold, source, layer, part) -> (step, λ); the number of the source is "" where there is one
Course = dict[tuple[str, str, int, str], list[tuple[int, float]]]
SOURCES = ("-", "--", ":", "-.")  # of several sources, in turn
PARTS = {"q": "-", "k": "--", "v": ":", "o": "-.", "f": (0, (5, 1, 1, 1)), "n": (0, (1, 3))}


def draw_lambdas(folder: Path, result: RunResult) -> None:
    """Write ``folder/lambda.png`` if the run learnt λ in a training."""
    if result.train and result.train.is_lmam:
        save(lambdas_figure(folder, result), folder / "lambda.png")


def lambdas_figure(folder: Path, result: RunResult) -> Figure:
    """Return a figure of λ over the steps, one line per layer, and over depth at the start and at the end."""
    train = result.train
    assert train is not None, "a run that learnt λ"
    course = read_course(folder)
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    folds = list(dict.fromkeys(fold for fold, *_ in course))
    shared = _is_shared(course)
    for (fold, source, layer, part), points in course.items():
        if shared and part != result.merge.parts[0]:
            continue
        steps, lams = zip(*points, strict=True)
        name = f"layer {layer}" if shared or part[0] == result.merge.parts[0] else None
        style = "-" if shared else PARTS[part[0]]
        if source:
            name, style = name and f"source {source}, {name}", SOURCES[(int(source) - 1) % len(SOURCES)]
        left.plot(
            steps,
            lams,
            linestyle=style,
            color=COLOURS[layer % len(COLOURS)],
            linewidth=1.2,
            alpha=1.0 if fold == folds[0] else 0.45,
            label=name if fold == folds[0] and "." not in part else None,
        )
    for training in train.folds[:1]:
        left.axvline(training.best_step, color="#888888", linewidth=1, linestyle=":", label="kept")
    has_parts = not shared and result.merge.by_source is None
    left.set_xlabel("step" + (" (– Q, -- K, ··· V)" if has_parts else ""))
    left.set_ylabel("λ")
    left.legend(fontsize=7, frameon=False, ncols=2)
    depth = range(len(result.merge.lam))
    summed = "" if result.merge.by_source is None else ", sum of the sources"
    right.plot(depth, train.lam_at_start, color="#888888", linewidth=1, marker=".", label=f"at the start{summed}")
    for number, training in enumerate(train.folds):
        right.plot(
            depth,
            training.lam,
            ".",
            color=COLOURS[0],
            alpha=0.5,
            label="each fold" if len(folds) > 1 and not number else None,
        )
    right.plot(depth, result.merge.lam, "o-", color=COLOURS[0], linewidth=1.4, markersize=4, label=f"learnt{summed}")
    right.set_xlabel("layer, from the input")
    right.set_xticks(list(depth))
    right.legend(fontsize=7, frameon=False)
    for axes in (left, right):
        plain_axes(axes)
    control = result.merge.control
    replaced = "" if control == "none" else f", source: {control}"
    figure.suptitle(f"{title_of(result)}: λ learnt{replaced}", fontsize=10, x=0.02, ha="left")
    return figure


def read_course(folder: Path) -> Course:
    """Return λ by fold, source, layer and part from ``lambda.csv``.

    Raises RecordError with the line if it cannot be read.
    """
    course: Course = {}
    path, number = folder / LAMBDA, 1
    try:
        for row in csv.DictReader((line for _, line in text_lines(path)), strict=True):
            number += 1
            step, layer, part, lam = int(row["step"]), int(row["layer"]), row["part"], float(row["lam"])
            if step < 0 or layer < 0 or part[:1] not in PARTS or not math.isfinite(lam):
                raise ValueError(f"step {step}, layer {layer}, part {part!r}, λ {lam}")
            source = row.get("source") or ""
            if source and not source.isdecimal():
                raise ValueError(f"source {source!r}")
            course.setdefault((row.get("fold") or "", source, layer, part), []).append((step, lam))
        if not course:
            raise ValueError("it has no λ")
    except (MamError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RecordError(f"{path}, line {number}: cannot be read ({error}). {AGAIN}") from error
    return course


def _is_shared(course: Course) -> bool:
    """Return whether all parts of a layer have the same λ throughout."""
    by_layer: dict[tuple[str, str, int], list[tuple[int, float]]] = {}
    return all(by_layer.setdefault(place[:3], points) == points for place, points in course.items())
