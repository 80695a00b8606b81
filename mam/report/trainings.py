"""Studies of trainings in the terminal and as pictures: methods against FT over seeds, λ over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.report.layout import fitted
from mam.report.plots import COLOURS, new_figure, plain_axes, save
from mam.scoring.seeds import LEAST_SEEDS
from mam.scoring.sign_flip import LEVEL
from mam.scoring.wording import p_cell
from mam.studies.trainings import ArmComparison, Stability
from mam.terminal import Terminal, interval, p_text, plain_table, points, true_minus


def show_arms(terminal: Terminal, found: Sequence[ArmComparison], idle: Sequence[str], reference: str) -> None:
    """Show each method minus FT and minus its control over seeds, and whether FT itself had an effect."""
    keys = list(dict.fromkeys(key for comparison in found for key in comparison.where))
    columns = [(key, "left") for key in keys] + [("arm", "left"), ("minus", "left"), ("n", "right")]
    columns += [("Δ points", "right"), ("95 %", "left"), ("p", "right"), ("p Holm", "right")]
    rows = []
    for comparison in found:
        row = [comparison.where.get(key, "") for key in keys] + [
            comparison.arm,
            comparison.other,
            str(len(comparison.seeds)),
            points(comparison.mean),
        ]
        if len(comparison.seeds) == 1:
            alone = comparison.seeds[0][1]
            rows.append([*row, interval(alone.ci95), p_cell(alone), ""])
        elif comparison.p_value is None or comparison.p_holm is None:
            rows.append([*row, "too few seeds" if not comparison.is_enough else "–", "–", "–"])
        else:
            rows.append([*row, interval(comparison.ci95), p_text(comparison.p_value), p_text(comparison.p_holm)])
    are_alone = all(len(comparison.seeds) == 1 for comparison in found)
    title = "one seed, paired by example" if are_alone else "means over n seeds, Student's t"
    terminal.table(title, fitted(columns, rows, ("p",)))
    terminal.say("")
    if idle:
        terminal.say(
            f"{reference} itself did not lower the error rate on dev significantly at {'; '.join(idle)}:"
            " no comparison with it is informative there"
        )
    terminal.say(verdict(found))


def verdict(found: Sequence[ArmComparison]) -> str:
    """Return one sentence with the conclusion for the methods that merge a real source."""
    judged = [comparison for comparison in found if comparison.is_enough]
    if not judged:
        return f"too few seeds for a conclusion: at least {LEAST_SEEDS} are needed"
    scope = "over seeds, for these clips"
    findings = []
    for comparison in judged:
        if comparison.p_holm is not None and comparison.p_holm < LEVEL:
            change = f"{comparison.arm} is {'better' if comparison.mean < 0 else 'worse'} than {comparison.other}"
            findings.append(f"{change}{_at(comparison)} (p {p_text(comparison.p_holm)}, Holm-adjusted)")
    if findings:
        return f"{'; '.join(findings)}: {scope}"
    bounds = [comparison.ci95 for comparison in judged if comparison.ci95 is not None]
    reach = (
        f"; the 95 % intervals span {points(min(low for low, _ in bounds))} to"
        f" {points(max(high for _, high in bounds))} points"
        if bounds
        else ""
    )
    others = " or ".join(dict.fromkeys(comparison.other for comparison in judged))
    return f"no difference from {others} was found {scope}{reach}"


def _at(comparison: ArmComparison) -> str:
    return f" at {' '.join(f'{key}={value}' for key, value in comparison.where.items())}" if comparison.where else ""


def show_stability(terminal: Terminal, found: Stability, control: str = "none") -> None:
    """Show λ of each layer over seeds, learnt from the source or from a control in its place."""
    table = plain_table(
        ("layer", "right"), ("mean λ", "right"), ("sd", "right"), ("cv", "right"), ("min", "right"), ("max", "right")
    )
    for place, layer in enumerate(found.layers):
        row = found.row(place)
        cells = ["–" if row[name] is None else f"{row[name]:.4f}" for name in ("mean", "sd", "cv", "least", "most")]
        table.add_row(str(layer), *cells)
    source = "" if control == "none" else f", source replaced by {control}"
    terminal.table(f"λ learnt with {len(found.lams)} seeds{source}", table)
    rho = found.rank_correlation
    terminal.say("")
    terminal.say("sd: standard deviation over seeds; cv: coefficient of variation, sd over mean")
    shown = "not defined" if rho is None else true_minus(f"{rho:+.2f}")
    terminal.say(f"rank correlation of layers between seeds (mean Spearman ρ): {shown}")


def draw_stability(path: Path, found: Stability, title: str) -> None:
    """Write a picture of λ over depth, one line per seed."""
    figure = new_figure(6, 3.6)
    axes = figure.subplots()
    for number, lams in enumerate(found.lams):
        axes.plot(found.layers, lams, "o-", color=COLOURS[number % len(COLOURS)], linewidth=1, markersize=3)
    axes.set_xticks(found.layers)
    axes.set_xlabel("layer, counted from the input (one line per seed)")
    axes.set_ylabel("λ learnt")
    axes.set_title(title, fontsize=10, loc="left")
    plain_axes(axes)
    save(figure, path)
