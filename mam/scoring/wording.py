"""Sentences and table cells about a paired difference, the same in terminals, tables, pages and cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from mam.scoring.sign_flip import LEVEL
from mam.scoring.significance import LEAST, Difference
from mam.terminal import interval, p_text, points, relative

Verdict = Literal["better", "worse", "undecided"]
FEW, OLD = "few", "old"
FEW_NOTE = f"{FEW}: fewer than {LEAST} units changed, so no difference can be significant"
HOLM_NOTE = "p Holm: p adjusted for the number of rows (Holm)"
BOOTSTRAP_NOTE = "intervals are from the percentile bootstrap and need not agree with p"
COUNTS = "better/worse"  # heading of `counts_cell`
SHORT_COUNTS = "b/w"  # the same for 80 columns


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 utterance``, ``14 utterances``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def enumerated(names: Sequence[str]) -> str:
    """Return names as a list in words: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def units_text(difference: Difference) -> str:
    """Return ``90 utterances, 14 changed: 9 better, 5 worse``, with a remark if these are too few."""
    units = counted(difference.clusters, difference.unit)
    if difference.changed is None:
        return units
    if not difference.changed:
        return f"{units}, none with a different number of errors"
    text = f"{units}, {difference.changed} changed: {difference.better} better, {difference.worse} worse"
    return text if difference.can_be_significant else f"{text}; {too_few(difference)}"


def too_few(difference: Difference) -> str:
    """Return the reason why no difference could be significant here."""
    units = f"{difference.unit}s" if difference.clusters < LEAST else f"changed {difference.unit}s"
    return f"with fewer than {LEAST} {units}, no difference can be significant"


def difference_text(difference: Difference) -> str:
    """Return the difference with its interval, and p if it can be significant.

    For example ``−0.57 points, 95 % [−1.72, +0.71], p 0.399; relative −2.33 %``.
    """
    if difference.changed == 0:
        text = f"{points(0.0)} points: 0 of {counted(difference.clusters, difference.unit)} changed"
        if difference.clusters < LEAST:
            return text
        return f"{text}, so with 95 % confidence at most about {300 / difference.clusters:.2g} % would in general (3/n)"
    name = "95 %" if difference.interval == "sign_flip" else f"95 % ({difference.interval})"
    ends = "no interval" if difference.ci95 is None else f"{name} {interval(difference.ci95)}"
    p = f", p {p_text(difference.p_value)}" if difference.can_be_significant else ""
    change = "" if difference.relative is None else f"; relative {relative(difference.relative)}"
    return f"{points(difference.absolute)} points, {ends}{p}{change}"


def p_cell(difference: Difference, p_value: float | None = None) -> str:
    """Return p for a table, or `FEW` if it could not be below .05; ``p_value`` replaces the difference's own."""
    if difference.changed is None:
        return OLD
    if difference.changed == 0:
        return "–"
    if not difference.can_be_significant:
        return FEW
    return p_text(difference.p_value if p_value is None else p_value)


def counts_cell(difference: Difference) -> str:
    """Return the numbers of units that got better and worse, ``9/5``."""
    return "–" if difference.changed is None else f"{difference.better}/{difference.worse}"


def table_notes(differences: Iterable[Difference]) -> list[str]:
    """Return the notes that explain the short columns of a table of differences."""
    compared = [difference for difference in differences if difference.changed is not None]
    units = list(dict.fromkeys(counted(difference.clusters, difference.unit) for difference in compared))
    notes = [f"{SHORT_COUNTS}: better/worse, units with fewer/more errors, of {', '.join(units)}"] if units else []
    notes += [HOLM_NOTE] if len(compared) > 1 else []
    notes += [FEW_NOTE] if any(p_cell(difference) == FEW for difference in compared) else []
    notes += [BOOTSTRAP_NOTE] if any(difference.interval != "sign_flip" for difference in compared) else []
    return notes


def excluded(differences: Iterable[Difference]) -> str:
    """Return what the intervals of several differences leave possible, as the end of a sentence."""
    compared = list(differences)
    ends = [difference.ci95 for difference in compared if difference.ci95 is not None]
    if all(difference.changed == 0 for difference in compared):
        return "no unit changed its number of errors, so nothing can be concluded"
    if not ends:
        return "a single unit has no interval, so nothing can be concluded"
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    few = sum(not difference.can_be_significant for difference in compared)
    if len(compared) == 1:
        rest = f"; {too_few(compared[0])}" if few else ""
        return f"the 95 % interval is {interval((low, high))} points{rest}"
    rest = f"; {few} of {len(compared)} comparisons have fewer than {LEAST} changed units" if few else ""
    return f"the 95 % intervals span {points(low)} to {points(high)} points{rest}"


def judged(difference: Difference, p_value: float | None = None) -> Verdict:
    """Return whether a difference was shown to be better or worse, else undecided.

    ``p_value`` replaces the difference's own, where it is adjusted for several comparisons.
    """
    if (difference.p_value if p_value is None else p_value) >= LEVEL:
        return "undecided"
    return "better" if difference.absolute < 0 else "worse"
