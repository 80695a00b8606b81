"""Comparisons of a study as tables of at most 80 columns, each followed by a sentence with the conclusion."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from mam.report.layout import DIFFERENCE_COLUMNS, difference_cells, fitted, verdict_style
from mam.scoring.sign_flip import LEVEL
from mam.scoring.significance import Difference
from mam.scoring.wording import enumerated, table_notes
from mam.studies.evidence import Comparison, conclusion, rivalry
from mam.studies.mismatch import Mismatch
from mam.studies.mismatch import conclusion as mismatch_conclusion
from mam.studies.similarity import Prediction
from mam.terminal import Terminal, p_text, plain_table, true_minus


def show_plain(terminal: Terminal, comparisons: Sequence[Comparison], n: int | str) -> None:
    """Show other methods and alignments minus the linear, unaligned merge, and the conclusion."""
    terminal.table("minus linear, unaligned merging, paired by example", _comparisons(comparisons, ""))
    _say(terminal, [comparison.difference for comparison in comparisons])
    terminal.say(rivalry(comparisons, n))


def show_evidence(terminal: Terminal, comparisons: Sequence[Comparison], n: int | str) -> None:
    """Show the real source minus each control, and the conclusion."""
    terminal.table("source minus control, paired by example", _comparisons(comparisons, "control"))
    _say(terminal, [comparison.difference for comparison in comparisons])
    terminal.say(conclusion(comparisons, n))


def _comparisons(comparisons: Sequence[Comparison], control: str) -> Table:
    keys = list(dict.fromkeys(key for comparison in comparisons for key in comparison.where))
    names = [*keys, control] if control else keys
    columns = [(key, "left") for key in names]
    columns += DIFFERENCE_COLUMNS
    rows = []
    for comparison in comparisons:
        row = [comparison.where.get(key, "") for key in keys] + ([comparison.control] if control else [])
        rows.append([*row, *difference_cells(comparison.difference, comparison.p_holm)])
    return fitted(columns, rows, ("p",), [verdict_style(one.difference, one.p_holm) for one in comparisons])


def show_mismatches(terminal: Terminal, found: Sequence[Mismatch]) -> None:
    """Show the effect of a mismatch between target and source, by dimension and λ, and the conclusion."""
    keys = list(dict.fromkeys(key for mismatch in found for key in mismatch.where))
    columns = [("differ in", "left"), *((key, "left") for key in keys), ("differ", "right"), ("fit", "right")]
    columns += DIFFERENCE_COLUMNS
    rows = []
    for mismatch in found:
        row = [
            mismatch.dimension,
            *(mismatch.where.get(key, "") for key in keys),
            str(mismatch.unequal),
            str(mismatch.equal),
        ]
        rows.append([*row, *difference_cells(mismatch.difference, mismatch.p_holm)])
    terminal.table(
        "effect of a mismatch: change of pairs that differ minus that of pairs that fit",
        fitted(columns, rows, ("p",), [verdict_style(one.difference, one.p_holm) for one in found]),
    )
    _say(terminal, [mismatch.difference for mismatch in found])
    if any(1 in (mismatch.unequal, mismatch.equal) for mismatch in found):
        terminal.say("with one pair on a side, the interval does not include the variation between pairs")
    terminal.say(mismatch_conclusion(found))


def show_predictions(terminal: Terminal, found: Sequence[Prediction]) -> None:
    """Show whether a source layer that is more similar to the target's merges better."""
    table = plain_table(*((name, "left" if name == "measure" else "right") for name in ("measure", "merges", "r", "p")))
    for one in found:
        table.add_row(one.measure, str(one.merges), true_minus(f"{one.correlation:+.2f}"), p_text(one.p_value))
    layers = found[0].layers
    terminal.table(f"similarity and Δ of single source layers, compared within {layers} target layers", table)
    terminal.say("r: Pearson's correlation; negative if more similar source layers raise the error rate less")
    shown = [one.measure for one in found if one.p_value * len(found) < LEVEL]
    if shown:
        terminal.say(f"{enumerated(shown)} predicts the effect of a merge (p < .05 after Bonferroni)")
    else:
        terminal.say("no evidence that similarity predicts the effect of a merge")


def _say(terminal: Terminal, differences: Sequence[Difference]) -> None:
    """Print the notes below a table."""
    terminal.say("")
    for note in table_notes(differences):
        terminal.say(note)
