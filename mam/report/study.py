"""The report of a study: output in the terminal, `study.json` and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mam.config.study import StudyConfig
from mam.files import json_text, write_json
from mam.records.text import metric_name, title_of
from mam.report.curve import curve, is_number
from mam.report.evidence import show_evidence, show_mismatches, show_plain, show_predictions
from mam.report.forest import forest
from mam.report.lambdas import draw_lambdas
from mam.report.plots import save
from mam.report.study_table import best_on_dev, show_study
from mam.report.trainings import draw_stability, show_arms, show_stability
from mam.scoring.wording import counted
from mam.studies.analysis import StudyAnalysis, analyse
from mam.studies.execute import Member
from mam.terminal import Terminal

if TYPE_CHECKING:  # it imports torch, without which a finished study is shown
    from mam.merging.similarity import LayerSimilarities


def report_study(
    terminal: Terminal,
    members: Sequence[Member],
    folder: Path,
    study: StudyConfig,
    name: str,
    similarities: Sequence[LayerSimilarities] = (),
) -> Path:
    """Show and record the analysis of a study, and list the runs that failed; for ``similarities`` see `analyse`.

    Returns:
        The folder of its files: that of an earlier command where the same analysis is recorded, else ``folder``.
    """
    for member in members:
        if member.outcome and member.outcome.status == "finished":
            draw_lambdas(member.outcome.folder, member.outcome.result)
    if any(member.outcome for member in members):
        analysis = analyse(study, name, members, similarities)
        show_analysis(terminal, analysis)
        folder = record_study(folder, analysis)
        terminal.say(f"files   {folder}")
    _show_ends(terminal, members)
    return folder


def show_analysis(terminal: Terminal, analysis: StudyAnalysis) -> None:
    """Show the runs of a study, and each kind of comparison in it."""
    plan = [member.job for member in analysis.members]
    shared = [word for word in plan[0].words if all(word in job.words for job in plan)]
    show_study(terminal, analysis.finished, shared)
    if analysis.rivals:
        show_plain(terminal, analysis.rivals, analysis.n)
    if analysis.comparisons:
        show_evidence(terminal, analysis.comparisons, analysis.n)
    if analysis.mismatches:
        show_mismatches(terminal, analysis.mismatches)
    if analysis.arms:
        show_arms(terminal, analysis.arms, analysis.idle, analysis.reference)
    if analysis.predictions:
        show_predictions(terminal, analysis.predictions)
    for control, stability in analysis.stability.items():
        show_stability(terminal, stability, control)


def record_study(folder: Path, analysis: StudyAnalysis) -> Path:
    """Write ``study.json`` (``sweep.json`` for a multirun), and pictures if any run merged anything.

    Nothing is written if an earlier command recorded the same of the same runs. Returns the folder of the files.

    ``study.png`` (``sweep.png``) is a forest plot of all differences, ``curve.png`` the rate over λ, if λ varies on one
    data set, and ``stability.png`` the λ learnt with each seed.
    """
    finished = analysis.finished
    results = [result for _, result in finished]
    chosen = best_on_dev(results)
    content = analysis.as_dict(chosen)
    earlier = _recorded(folder, f"{analysis.stem}.json", content)
    if earlier is not None:
        return earlier
    title, metric = title_of(results[0]), metric_name(results[0])
    if any(result.is_merged for result in results):
        save(forest(finished, metric, title), folder / f"{analysis.stem}.png")
        lams = {varied.get("lam") for varied, _ in finished}
        has_one_baseline = len({result.baseline_rate for result in results}) == 1
        if len(lams) > 2 and all(map(is_number, lams)) and has_one_baseline:
            save(curve(finished, metric, chosen), folder / "curve.png")
    for control, stability in analysis.stability.items():
        beside = "" if control == "none" else f"-{control}"
        suffix = "" if control == "none" else f", {control}"
        draw_stability(folder / f"stability{beside}.png", stability, title + suffix)
    write_json(folder / f"{analysis.stem}.json", content)  # last: with it, the folder is complete
    return folder


def _recorded(folder: Path, name: str, content: Mapping[str, Any]) -> Path | None:
    """Return the latest folder of this study under the same ``outputs`` in which ``content`` is recorded already."""
    text = json_text(content)
    start = len("HH-MM-SS")
    for path in sorted(folder.parents[1].glob(f"*/*{escape(folder.name[start:])}/{name}"), reverse=True):
        with suppress(OSError, ValueError):
            if path.stat().st_size == len(text.encode()) and path.read_text(encoding="utf-8") == text:
                return path.parent
    return None


def _show_ends(terminal: Terminal, members: Sequence[Member]) -> None:
    """Show how many runs finished, were skipped, left out or failed, and why."""
    finished = sum(member.outcome is not None and member.outcome.status == "finished" for member in members)
    skipped = sum(member.outcome is not None and member.outcome.status == "skipped" for member in members)
    unfit = [member for member in members if member.is_unfit]
    failed = [member for member in members if member.error and not member.is_unfit]
    terminal.say("")
    left_out = f", {len(unfit)} left out" if unfit else ""
    runs = counted(len(members), "run")
    terminal.say(f"{runs}: {finished} finished now, {skipped} skipped, {len(failed)} failed{left_out}")
    for reason in dict.fromkeys(str(member.error) for member in unfit):
        times = sum(member.error == reason for member in unfit)
        terminal.say(f"left out ({counted(times, 'run')}): {reason}")
    for message in dict.fromkeys(str(member.error) for member in failed):
        alike = [member for member in failed if member.error == message]
        which = "; ".join(" ".join(member.job.words) for member in alike)
        logs = dict.fromkeys(str(member.log) for member in alike if member.log)
        terminal.error(f"{which}: {message}" + (f"\nlog: {', '.join(logs)}" if logs else ""))
