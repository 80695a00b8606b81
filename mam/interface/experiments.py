"""Experiments from Python: what `mam run` does, with results instead of text."""

from __future__ import annotations

from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mam.config.search import split_search
from mam.errors import ConfigError, MamError, bullets
from mam.interface.isolation import isolated
from mam.interface.words import words_from
from mam.launch.request import Request, request
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

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class RunResult(records.RunResult):
    """A finished run: everything in its `result.json`, and its folder.

    The rates of both sides are ``metrics`` and ``baseline``, their difference with its interval is ``delta``; rates are
    fractions. The texts are in ``folder / "predictions.jsonl"``.
    """

    folder: Path = Path()

    def __str__(self) -> str:
        """Return the run in two lines: both rates, and the difference with its interval."""
        metric = metric_name(self)
        sides = f"{arm_text(self)}: {metric} {percent(self.rate)}, baseline {percent(self.baseline_rate)}"
        difference = f"Δ {difference_text(self.delta)}; {units_text(self.delta)}"
        return f"{self.model.name} on {self.data.name}, {sides}\n{difference}"


def run(*words: str, **options: Any) -> RunResult:
    """Run one experiment, or return the result of an equal one that is finished.

    Args:
        *words: Words of a command line, such as ``"model=whisper_minilm"`` or ``"data.limit=30"``.
        **options: Keys of the configuration, such as ``lam=0.05``, ``model="whisper_minilm"``, ``data={"limit": 30}``,
            ``plugins=["./mine.py"]``; and ``config_dir``, a folder of your own configurations.

    Returns:
        The result, as it is in `result.json`.

    Raises:
        MamError: Something that you can fix; the message says how. Of its kinds, ConfigError lists every mistake in the
            words.
    """
    with isolated():
        asked = _requested(words, options, multirun=False)
        if asked.study is not None:
            raise ConfigError(
                f"experiment: {asked.study.config.study.name} is a study of several runs. Say mam.sweep(...)"
            )
        outcome = run_one(asked.plan.jobs[0], Terminal(quiet=True))
    return _with_folder(outcome.result, outcome.folder)


def sweep(*words: str, **options: Any) -> list[RunResult]:
    """Run a sweep or a study, and return the results of its runs in the order of the plan.

    A list of values is a sweep: ``mam.sweep(lam=[0, 0.05, 0.1])`` is ``mam run --multirun lam=0,0.05,0.1``. As there,
    the baseline and the control `shrink` are added. ``mam.sweep("experiment=controls")`` runs a study. Tables and
    pictures are written beside the runs, in ``result.folder.parent``.

    Args:
        *words: As in `run`.
        **options: As in `run`; a list is a sweep over its values, unless the key takes a list.

    Raises:
        MamError: As in `run`, or some of the runs failed; all messages are listed, and finished runs are kept.
    """
    with isolated():
        asked = _requested(words, options, multirun=True)
        members = run_several(asked, Terminal(quiet=True))
        jobs = [member.job for member in members]
        failed = [
            f"{varied_text(member.job, jobs)}: {member.error}"
            for member in members
            if member.error and not member.is_unfit
        ]
    if failed:
        raise MamError(f"{len(failed)} of {len(members)} runs failed; the others are finished. {bullets(failed)}")
    outcomes = [member.outcome for member in members if member.outcome is not None]
    return [_with_folder(outcome.result, outcome.folder) for outcome in outcomes]


def load_result(folder: str | PathLike[str]) -> RunResult:
    """Return the result of a finished run.

    Args:
        folder: The run's folder, which has a `result.json`.

    Raises:
        RecordError: The folder holds no finished run, or its result cannot be read.
    """
    return _with_folder(read_result(Path(folder)), Path(folder))


def results(*folders: str | PathLike[str]) -> pd.DataFrame:
    """Return the finished runs below folders as a table, a row a run, the newest first.

    Rates, differences and intervals are fractions; ``lam`` is NaN where layers differ, ``lam_mean`` is their mean. Of
    runs of equal hash the newest counts. Folders whose run is unfinished or cannot be read are in
    ``frame.attrs["left_out"]``, a sentence for each kind.

    Args:
        *folders: Where to look, at any depth; ``outputs`` by default.

    Raises:
        RecordError: A folder does not exist.
    """
    import pandas as pd  # half a second that other functions need not wait for

    found = found_rows([Path(folder) for folder in folders or ("outputs",)])
    frame = pd.DataFrame([row.as_dict() for row in found.runs], columns=[column.name for column in fields(RunRow)])
    frame.attrs["left_out"] = left_out(found.unfinished, found.broken)
    return frame


def _requested(words: tuple[str, ...], options: dict[str, Any], multirun: bool) -> Request:
    search, typed = split_search(words_from(words, options, has_sweeps=multirun))
    if multirun and any(word.startswith(("experiment=", "study.", "+study.")) for word in typed):
        asked = request(typed, False, search)
        if asked.study is not None:
            return asked
    return request(typed, multirun, search)


def _with_folder(result: records.RunResult, folder: Path) -> RunResult:
    values = {attribute.name: getattr(result, attribute.name) for attribute in fields(records.RunResult)}
    return RunResult(**values, folder=folder)
