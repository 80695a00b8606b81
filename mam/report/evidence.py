"""Comparisons of a study as tables of at most 80 columns, each with one sentence on what follows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from mam.report.tables import fitted
from mam.studies.evidence import LEVEL, Comparison, conclusion, rivalry
from mam.studies.mismatch import Mismatch
from mam.terminal import Terminal, hundredfold, interval, p_text, points


def show_plain(terminal: Terminal, comparisons: Sequence[Comparison], n: int) -> None:
    """Other methods and alignments minus the linear, unaligned merge, and in one sentence what follows."""
    terminal.table("minus linear, unaligned merging, paired by example", _comparisons(comparisons, ""))
    terminal.say("")
    terminal.say(rivalry(comparisons, n))


def show_evidence(terminal: Terminal, comparisons: Sequence[Comparison], n: int) -> None:
    """The real source minus each control, and in one sentence what follows."""
    terminal.table("source minus control, paired by example", _comparisons(comparisons, "control"))
    terminal.say("")
    terminal.say(conclusion(comparisons, n))


def _comparisons(comparisons: Sequence[Comparison], control: str) -> Table:
    keys = list(dict.fromkeys(key for one in comparisons for key in one.where))
    names = [*keys, control] if control else keys
    columns = [(key, "left") for key in names] + [("Δ points", "right"), ("95 %", "left")]
    columns += [("p", "right"), ("p Holm", "right"), ("det.", "right")]
    rows = []
    for one in comparisons:
        delta = one.difference
        row = [one.where.get(key, "") for key in keys] + ([one.control] if control else [])
        row += [points(delta.absolute), interval(delta.ci95), p_text(delta.p_value), p_text(one.p_holm)]
        rows.append([*row, "–" if delta.detectable is None else hundredfold(delta.detectable)])
    return fitted(columns, rows, ("p", "det."))


def show_mismatches(terminal: Terminal, found: Sequence[Mismatch]) -> None:
    """What it costs or gains that a pair does not fit, by dimension and λ."""
    keys = list(dict.fromkeys(key for one in found for key in one.where))
    columns = [("differ in", "left"), *((key, "left") for key in keys), ("pairs", "right"), ("others", "right")]
    columns += [("Δ points", "right"), ("95 %", "left"), ("p", "right"), ("p Holm", "right"), ("det.", "right")]
    rows = []
    for one in found:
        delta = one.difference
        seen = "–" if delta.detectable is None else hundredfold(delta.detectable)
        row = [one.dimension, *(one.where.get(key, "") for key in keys), str(one.unequal), str(one.equal)]
        row.append(points(delta.absolute))
        rows.append([*row, interval(delta.ci95), p_text(delta.p_value), p_text(one.p_holm), seen])
    terminal.table(
        "effect by mismatch: change of pairs that differ minus that of others", fitted(columns, rows, ("p", "det."))
    )
    terminal.say("")
    passed = [one for one in found if one.p_holm < LEVEL]
    named = ", ".join(
        " ".join([one.dimension, "at", *(f"{key}={value}" for key, value in one.where.items())]) for one in passed
    )
    if any(1 in (one.unequal, one.equal) for one in found):
        terminal.say("with one pair on a side, how pairs scatter cannot be in the interval")
    terminal.say(
        f"a mismatch matters in {named}" if passed else "no mismatch changes what merging does, beyond its interval"
    )
