"""Experiments from Python: like `mam run`, but with results instead of printed text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mam.config.compose import jobs
from mam.config.search import split_search
from mam.errors import ConfigError, MamError, bullets
from mam.extensions import use
from mam.interface.isolation import isolated
from mam.interface.words import words_from
from mam.launch.request import Request, request
from mam.launch.settings import split_words
from mam.launch.start import run_one, run_several
from mam.records import result as records
from mam.records.reading import read_result
from mam.records.text import arm_text, metric_name
from mam.report.found import left_out
from mam.report.rows import RunRow, found_rows
from mam.scoring.wording import difference_text, units_text
from mam.studies.execute import varied_text
from mam.terminal import Terminal, percent

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunResult(records.RunResult):
    """A finished run: the content of its `result.json`, and its folder.

    The error rates are in ``metrics`` (merged) and ``baseline``, the difference and its interval in ``delta``; all
    rates are fractions. The predictions are in ``folder / "predictions.jsonl"``.
    """

    folder: Path = Path()

    def __str__(self) -> str:
        """Return the run in two lines: both rates, and the difference with its interval."""
        metric = metric_name(self)
        sides = f"{arm_text(self)}: {metric} {percent(self.rate)}, baseline {percent(self.baseline_rate)}"
        difference = f"Δ {difference_text(self.delta)}; {units_text(self.delta)}"
        return f"{self.model.name} on {self.data.name}, {sides}\n{difference}"


class SweepResults(list[RunResult]):
    """The results of a sweep or study, in order.

    ``left_out`` has one sentence for each run whose options do not apply to this pair of models.
    """

    def __init__(self, results: Iterable[RunResult] = (), left_out: Sequence[str] = ()) -> None:
        super().__init__(results)
        self.left_out = list(left_out)


def run(*words: str, **options: Any) -> RunResult:
    """Run one experiment, or return its result if the same experiment has finished already.

    Args:
        *words: Settings as on the command line, such as ``"model=whisper_minilm"`` or ``"data.limit=30"``.
        **options: Keys of the configuration, such as ``lam=0.05``, ``model="whisper_minilm"``, ``data={"limit": 30}``,
            ``plugins=["./mine.py"]``; also ``config_dir``, a folder with your own configurations.

    Returns:
        The result, with the content of `result.json`.

    Raises:
        MamError: The run cannot be done; the message says what to change. ConfigError lists all mistakes in the
            settings.
    """
    with isolated():
        asked = _requested(words, options, multirun=False)
        if asked.study is not None:
            raise ConfigError(
                f"experiment: {asked.study.config.study.name} is a study of several runs. Use mam.sweep(...)"
            )
        outcome = run_one(asked.plan.jobs[0], Terminal(quiet=True))
    return _with_folder(outcome.result, outcome.folder)


def sweep(*words: str, **options: Any) -> SweepResults:
    """Run a sweep or a study, and return the results of its runs in order.

    A list of values makes a sweep: ``mam.sweep(lam=[0, 0.05, 0.1])`` is ``mam run --multirun lam=0,0.05,0.1``. The
    baseline and the control `shrink` are added, as on the command line. ``mam.sweep("experiment=controls")`` runs a
    study. Tables and figures are written next to the runs, in ``result.folder.parent``.

    Args:
        *words: As in `run`.
        **options: As in `run`; a list means a sweep over its values, unless the key itself takes a list.

    Returns:
        A list of results; its attribute ``left_out`` names the runs that this pair of models does not allow.

    Raises:
        MamError: As in `run`; or some runs failed, or all were left out. All messages are listed, and finished runs are
            kept.
    """
    with isolated():
        asked = _requested(words, options, multirun=True)
        members = run_several(asked, Terminal(quiet=True))
        plan = [member.job for member in members]
        failed, unfit = (
            [
                f"{varied_text(member.job, plan)}: {member.error}"
                for member in members
                if member.error and member.is_unfit == is_unfit
            ]
            for is_unfit in (False, True)
        )
    if failed:
        raise MamError(f"{len(failed)} of {len(members)} runs failed; the others finished. {bullets(failed)}")
    outcomes = [member.outcome for member in members if member.outcome is not None]
    if not outcomes:
        raise MamError(
            f"there is nothing to run: this pair of models allows none of the {len(members)} runs. {bullets(unfit)}"
        )
    return SweepResults((_with_folder(outcome.result, outcome.folder) for outcome in outcomes), unfit)


def load_result(folder: str | PathLike[str], *, plugins: Sequence[str] = ()) -> RunResult:
    """Return the result of a finished run.

    Args:
        folder: The run's folder, which has a `result.json`.
        plugins: Plug-ins to load, such as ``["./mine.py"]``; needed if the run's normalizer comes from a plug-in.

    Raises:
        ConfigError: A plug-in cannot be loaded.
        RecordError: The folder is not a finished run, or its result cannot be read.
    """
    with isolated():
        _use(plugins)
        return _with_folder(read_result(Path(folder)), Path(folder))


def results(*folders: str | PathLike[str], plugins: Sequence[str] = ()) -> pd.DataFrame:
    """Return all finished runs in these folders as a table with one row per run, newest first.

    Rates, differences and intervals are fractions. ``lam`` is NaN if λ differs between layers; ``lam_mean`` is its
    mean. If the same run was done several times, only the newest is listed. ``frame.attrs["left_out"]`` has one
    sentence for each kind of folder whose run is unfinished or cannot be read.

    Args:
        *folders: Folders to search, at any depth; ``outputs`` by default.
        plugins: As in `load_result`.

    Raises:
        ConfigError: A plug-in cannot be loaded.
        RecordError: A folder does not exist.
    """
    import pandas as pd  # half a second that other functions need not wait for

    with isolated():
        _use(plugins)
        found = found_rows([Path(folder) for folder in folders or ("outputs",)])
    frame = pd.DataFrame([row.as_dict() for row in found.runs], columns=[column.name for column in fields(RunRow)])
    frame.attrs["left_out"] = left_out(found.unfinished, found.broken)
    return frame


def _use(plugins: Sequence[str]) -> None:
    """Load plug-ins, with all entry points; raises ConfigError."""
    if not isinstance(plugins, list | tuple) or not all(isinstance(name, str) for name in plugins):
        raise ConfigError(f"plugins: {plugins!r} is not a list of names. Use plugins=['./mine.py']")
    use(plugins)


def _requested(words: tuple[str, ...], options: dict[str, Any], multirun: bool) -> Request:
    """Return what the arguments ask for; with ``multirun``, a sweep or, if its words make one, a study."""
    search, typed = split_search(words_from(words, options, has_sweeps=multirun))
    if multirun and any(word.startswith(("experiment=", "study.", "+study.")) for word in typed):
        # An experiment may be a study, a plan by itself, or the settings of a sweep: only its file tells.
        composed = jobs(split_words(typed)[0], multirun=True, search=search).jobs
        multirun = not any(job.config.study.is_plan for job in composed)
    return request(typed, multirun, search)


def _with_folder(result: records.RunResult, folder: Path) -> RunResult:
    values = {attribute.name: getattr(result, attribute.name) for attribute in fields(records.RunResult)}
    return RunResult(**values, folder=folder)
