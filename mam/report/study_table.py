"""The runs of a sweep or a study as a table of at most 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mam.config.words import key_values
from mam.records.result import RunResult
from mam.records.text import data_text, metric_name
from mam.report.language import run_lines
from mam.report.layout import DIFFERENCE_COLUMNS, difference_cells, fitted, verdict_style
from mam.scoring.significance import holm
from mam.scoring.wording import counted, table_notes
from mam.studies.merges import same_merges
from mam.terminal import Terminal, percent

Varied = Mapping[str, str]


def show_study(terminal: Terminal, runs: Sequence[tuple[Varied, RunResult]], fixed: Sequence[str]) -> None:
    """Show one row per run, the baselines below, and each note once.

    p values are Holm-adjusted over the runs that merged anything: with many λ some difference is "found" by chance.

    Args:
        terminal: the output.
        runs: the settings that vary between the runs, and each result.
        fixed: the words that all runs share.
    """
    results = [result for _, result in runs]
    chosen = best_on_dev(results)
    same = same_merges(results)
    merged = [i for i in same if results[i].is_merged]
    p_values = dict(zip(merged, holm([results[i].delta.p_value for i in merged]), strict=True))
    _show_rows(terminal, runs, list(same), p_values, chosen)
    terminal.say("")
    for note in table_notes(results[i].delta for i in merged):
        terminal.say(note)
    for first, others in same.items():
        for other in others:
            terminal.say(f"{key_values(runs[other][0])} is the same merge as {key_values(runs[first][0])}: one row")
    for line in dict.fromkeys(_baseline_text(result) for result in results if result.baseline.kind == "unmerged"):
        terminal.say(line)
    _show_choice(terminal, results, chosen)
    if fixed:
        terminal.say(f"all with {' '.join(fixed)}")
    for line in dict.fromkeys(line for result in results for line in run_lines(result)):
        terminal.say(line)
    notes = [note for result in results for note in result.diagnostics]
    for note in dict.fromkeys(notes):
        times = notes.count(note)
        terminal.say(f"note    {note}" + (f" ({counted(times, 'run')})" if times < len(results) else ""))


def _show_rows(
    terminal: Terminal,
    runs: Sequence[tuple[Varied, RunResult]],
    places: Sequence[int],
    p_values: Mapping[int, float],
    chosen: set[int],
) -> None:
    titles = list(dict.fromkeys(f"{result.model.name} on {data_text(result)}" for _, result in runs))
    title = " and ".join(titles) if len(titles) < 4 else f"{len(titles)} pairs of models and data"
    keys = list(dict.fromkeys(key for varied, _ in runs for key in varied))
    columns = [(key, "left") for key in keys] + ([("dev", "right")] if chosen else [])
    columns += [(metric_name(runs[0][1]), "right"), *DIFFERENCE_COLUMNS]
    rows, styles = [], []
    for i in places:
        varied, result = runs[i]
        row = [varied.get(key, "") for key in keys]
        if chosen:
            row.append(_dev_text(result, i in chosen))
        row.append(percent(result.rate))
        row += difference_cells(result.delta, p_values[i]) if i in p_values else ["baseline", "", "", "", ""]
        rows.append(row)
        styles.append(verdict_style(result.delta, p_values[i]) if i in p_values else "")
    terminal.table(title, fitted(columns, rows, ("p",), styles))


def _baseline_text(result: RunResult) -> str:
    name = "before training" if result.train else "baseline λ=0"
    return f"{name}: {metric_name(result)} {percent(result.baseline_rate)} on {data_text(result)}"


def _show_choice(terminal: Terminal, results: Sequence[RunResult], chosen: set[int]) -> None:
    if chosen:
        terminal.say("* best on dev (ties go to the smallest λ); the difference beside it was measured on test")
        return
    why = dict.fromkeys(result.dev.note for result in results if result.dev and result.dev.note)
    if any(result.dev for result in results):
        terminal.say(f"the best on dev is not marked: {'; '.join(why)}")


def best_on_dev(results: Sequence[RunResult]) -> set[int]:
    """Return the position of the best run on dev for each data set and model; empty if dev was not evaluated.

    Ties go to the smallest λ.
    """
    best: dict[tuple[str, str], tuple[float, float, int]] = {}
    for i, result in enumerate(results):
        if result.dev_rate is not None:
            where = result.model.name, result.data.name
            candidate = result.dev_rate, sum(result.merge.lam), i
            best[where] = min(best.get(where, candidate), candidate)
    return {i for _, _, i in best.values()}


def _dev_text(result: RunResult, is_best: bool) -> str:
    return "" if result.dev_rate is None else f"{'*' if is_best else ''}{percent(result.dev_rate)}"
