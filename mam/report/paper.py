"""The paper's tables with the results measured here, next to the paper's own relative figures, marked as such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mam.config.study import StudyConfig
from mam.files import atomic, write_csv
from mam.records.result import RunResult
from mam.report.files import markdown
from mam.report.latex import latex
from mam.report.layout import fitted
from mam.report.paper_table import TABLE, PaperTable, write_paper_table
from mam.scoring.wording import COUNTS, counted, counts_cell
from mam.studies.execute import Member
from mam.studies.trainings import ArmComparison, compared_arms
from mam.terminal import Terminal, interval, percent, points, relative

# Relative changes reported in the paper (Sundar et al., arXiv 2312.14378): zero-shot MAM against the baseline,
# L-MAM against FT. Its absolute numbers are not known to us.
PAPER = {
    ("table_asr_zeroshot", "ljspeech"): "−6.70 %",
    ("table_asr_zeroshot", "vctk"): "−1.80 %",
    ("table_aec_zeroshot", "esc50"): "−10.63 %",
    ("table_asr_lmam", "ljspeech"): "−2.70 %",
    ("table_asr_lmam", "vctk"): "−2.90 %",
    ("table_aec_lmam", "esc50"): "−18.42 %",
}
HEADINGS = [
    "data",
    "method",
    "λ",
    "rate",
    "Δ points",
    "95 %",
    "relative",
    "95 % relative",
    COUNTS,
    "paper, relative",
]
NOTE = (
    "Rates are WER or classification error; λ is chosen on dev and reported on test. For trainings the interval is"
    " over seeds, for these clips. The last column is the paper's own figure, on its own checkpoints; it was not"
    " measured here."
)


def paper_table(study: StudyConfig, members: Sequence[Member]) -> PaperTable:
    """Return the table of the paper that a study fills."""
    rows = _trained(study, members) if study.table == "trained" else _zero_shot(study, members)
    failed = sum(member.outcome is None for member in members)
    note = NOTE + (f" {failed} of {counted(len(members), 'run')} failed and are missing." if failed else "")
    return PaperTable(study.name, study.title, note, HEADINGS, rows)


def _zero_shot(study: StudyConfig, members: Sequence[Member]) -> list[list[str]]:
    rows: list[list[str]] = []
    for data, runs in _by_data(members).items():
        rows.append([data, "baseline", "0", percent(runs[0][1].baseline_rate), *[""] * 6])
        for member, result in runs:
            arm, delta = member.job.config.study.arm, result.delta
            layers = f" ({member.job.config.layers.spec})" if member.job.config.layers.spec != "all" else ""
            rows.append(
                [
                    data,
                    study.labels.get(arm, arm) + layers,
                    _chosen_text(result),
                    percent(result.rate),
                    points(delta.absolute),
                    interval(delta.ci95),
                    relative(delta.relative),
                    _relatives(delta.relative_ci95),
                    counts_cell(delta),
                    _of_paper(study, data, arm),
                ]
            )
    return rows


def _chosen_text(result: RunResult) -> str:
    """Return λ as chosen on dev, the range over folds, or as given."""
    lams = sorted({result.merge.lam[result.merge.layers[0]]})
    if result.tune:
        lams = sorted({choice.lam for choice in result.tune.chosen})
    return f"{lams[0]:g}" if len(lams) == 1 else f"{lams[0]:g} to {lams[-1]:g}"


def _trained(study: StudyConfig, members: Sequence[Member]) -> list[list[str]]:
    rows: list[list[str]] = []
    comparisons = [comparison for comparison in compared_arms(members) if comparison.other == study.reference]
    by_data = _by_data(members)
    for data, runs in by_data.items():
        before = [result for _, result in runs if result.baseline.kind == "unmerged"]
        if before:
            rows.append([data, "before training", "0", percent(before[0].baseline_rate), *[""] * 6])
        mean_reference = _mean_rate(runs, study.reference)
        for arm in dict.fromkeys(member.job.config.study.arm for member, _ in runs):
            config = next(member.job.config for member, _ in runs if member.job.config.study.arm == arm)
            lam = "learnt" if config.train.is_lmam else f"{config.lam:g}"
            seeds = sum(member.job.config.study.arm == arm for member, _ in runs)
            row = [data, study.labels.get(arm, arm), lam, f"{percent(_mean_rate(runs, arm))} (n={seeds})"]
            where = data if len(by_data) > 1 else None
            comparison = next(
                (candidate for candidate in comparisons if candidate.arm == arm and _is_on(candidate, where)), None
            )
            if comparison is None:
                rows.append([*row, *[""] * 6])
                continue
            has_interval = comparison.is_enough and comparison.ci95 is not None
            row += [
                points(comparison.mean),
                interval(comparison.ci95) if has_interval else "too few seeds",
                relative(comparison.mean / mean_reference if mean_reference else None),
            ]
            row += ["", ""]  # the reference's rate varies over seeds too, so a ratio has no interval of this kind
            rows.append([*row, _of_paper(study, data, arm)])
    return rows


def _mean_rate(runs: Sequence[tuple[Member, RunResult]], arm: str | None) -> float:
    rates = [result.rate for member, result in runs if member.job.config.study.arm == arm]
    return float(np.mean(rates)) if rates else float("nan")


def _is_on(comparison: ArmComparison, data: str | None) -> bool:
    return data is None or comparison.where.get("data") == data


def _of_paper(study: StudyConfig, data: str, arm: str) -> str:
    return PAPER.get((study.name, data), "") if arm == study.paper_arm else ""


def _by_data(members: Sequence[Member]) -> dict[str, list[tuple[Member, RunResult]]]:
    """Return the finished runs by data set."""
    runs: dict[str, list[tuple[Member, RunResult]]] = {}
    for member in members:
        if member.outcome is not None:
            runs.setdefault(member.job.config.data.name, []).append((member, member.outcome.result))
    return runs


def _relatives(bounds: Sequence[float | None] | None) -> str:
    return "–" if bounds is None else f"[{', '.join(relative(bound) for bound in bounds)}]"


def write_table_files(table: PaperTable, folder: Path) -> None:
    """Write ``table.json`` for `mam report`, and ``table.md``, ``table.tex`` and ``table.csv`` beside it."""
    write_paper_table(table, folder / TABLE)
    with atomic(folder / "table.md") as file:
        file.write(markdown(table.title, table.headings, table.rows) + f"\n{table.note}\n")
    with atomic(folder / "table.tex") as file:
        file.write(latex(table.title, table.headings, table.rows))
    with atomic(folder / "table.csv") as file:
        write_csv(file, [table.headings, *table.rows])


def show_paper_table(terminal: Terminal, table: PaperTable) -> None:
    """Show the table without empty columns, and without those that do not fit into 80 characters."""
    rows, heads = table.rows, table.headings
    is_one = len({row[0] for row in rows}) == 1
    places = [i for i in range(len(heads)) if any(row[i] for row in rows) and not (i == 0 and is_one)]
    columns = [(heads[i], "left") for i in places]
    needless = ("95 % relative", COUNTS, "λ", "relative")
    terminal.table(table.title, fitted(columns, [[row[i] for i in places] for row in rows], needless))
    terminal.say("")
    terminal.say(table.note)
