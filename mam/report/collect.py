"""Collecting finished runs from folders, grouped into comparable ones. Unusable folders are counted and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mam.errors import RecordError
from mam.records.index import Index
from mam.records.text import plain_id
from mam.report.found import UNNAMED, find_runs, left_out
from mam.report.paper_table import TABLE, PaperTable, read_paper_table
from mam.report.runs import Run, read_run
from mam.scoring.significance import holm
from mam.studies.evidence import MergedRun
from mam.studies.merges import same_merges


@dataclass(frozen=True)
class Group:
    """Runs on the same examples with the same target, scored in the same way. They share one table."""

    title: str
    runs: list[Run]

    @cached_property
    def varied(self) -> list[str]:
        """The traits in which the runs differ, and always λ."""
        names = list(self.runs[0].traits)
        return [name for name in names if name == "lam" or len({run.traits[name] for run in self.runs}) > 1]

    @cached_property
    def adjusted(self) -> dict[Path, float]:
        """Holm's adjusted p of every run that merged anything, over this group."""
        tried = [run for run in self.runs if run.result.is_merged and not run.result.delta.is_old]
        p_values = holm([run.result.delta.p_value for run in tried])
        return {run.folder: p_value for run, p_value in zip(tried, p_values, strict=True)}

    def merged(self) -> list[MergedRun]:
        """Return the runs that merged anything, for comparisons of the source with controls."""
        keys = [key for key in self.varied if key != "control"]
        return [
            MergedRun(
                tuple((key, run.traits[key]) for key in keys if not (key == "lam" and run.result.is_learnt)),
                run.traits["control"],
                run.folder,
                run.but_for_control,
                run.but_for_control_and_align,
            )
            for run in self.runs
            if run.result.is_merged
        ]


@dataclass(frozen=True)
class Collection:
    """The runs found in some folders.

    Attributes:
        groups: comparable runs, one table each.
        unfinished: folders of unfinished runs.
        broken: unreadable results, with the reason.
        repeated: number of runs of equal hash that were left out; the newest is kept.
        alike: number of runs that made the same merge as another.
        tables: the studies that fill a table of the paper.
    """

    groups: list[Group]
    unfinished: list[Path]
    broken: list[tuple[Path, str]]
    repeated: int
    alike: int
    tables: list[PaperTable]

    @property
    def runs(self) -> list[Run]:
        """All runs of all groups."""
        return [run for group in self.groups for run in group.runs]

    @property
    def remarks(self) -> list[str]:
        """Sentences on what is missing from the tables, and why."""
        sentences = left_out(self.unfinished, self.broken)
        if self.repeated:
            sentences.append(f"{self.repeated} repetitions of runs of equal hash are left out; the newest counts")
        if self.alike:
            sentences.append(f"{self.alike} runs made the same merge as another, and share its row")
        older = sum(run.result.delta.is_old for run in self.runs)
        if older:
            sentences.append(
                f"{older} runs were tested by an older version, with a bootstrap (p: old): run their commands again"
            )
        if len(self.groups) > 1:
            sentences.append(f"{len(self.groups)} tables: runs on other data, or of other targets, are not compared")
        return sentences


def collect(folders: Sequence[Path]) -> Collection:
    """Return every run below the folders, at any depth.

    Raises:
        RecordError: a folder that does not exist, or no finished run in any of them.
    """
    index = Index(folders[0])
    found = find_runs(folders, partial(read_run, index=index))
    index.save()
    unfinished, broken = found.unfinished, found.broken
    runs_by_hash = {run.result.hash: run for run in found.runs}
    repeated = len(found.runs) - len(runs_by_hash)
    if not runs_by_hash:
        what = f"; {len(unfinished)} unfinished, {len(broken)} unreadable" if unfinished or broken else ""
        reasons = "".join(f"\n  - {reason}" for _, reason in broken[:UNNAMED])
        raise RecordError(f"{', '.join(map(str, folders))}: no finished run is in there{what}.{reasons}")
    comparable: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs_by_hash.values():
        comparable.setdefault(_comparable(run), []).append(run)
    groups = [Group(_title(runs[0]), sorted(_distinct(runs), key=_order)) for runs in comparable.values()]
    alike = len(runs_by_hash) - sum(len(group.runs) for group in groups)
    return Collection(groups, unfinished, broken, repeated, alike, _tables(folders, broken))


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """Return the first run of every merge."""
    return [runs[i] for i in same_merges([run.result for run in runs])]


def _tables(folders: Sequence[Path], broken: list[tuple[Path, str]]) -> list[PaperTable]:
    """Return the newest table of each study that fills a table of the paper."""
    tables: dict[str, PaperTable] = {}
    for path in sorted({path for folder in folders for path in folder.rglob(TABLE)}):
        try:
            table = read_paper_table(path)
        except RecordError as error:
            broken.append((path, str(error)))
        else:
            tables[table.name] = table
    return list(tables.values())


def _comparable(run: Run) -> tuple[Any, ...]:
    """Return the traits that runs must share to be in one table."""
    result, data, decoder = run.result, run.result.data, run.result.model.decoder
    return (
        result.task,
        result.model.target.sha256,
        None if decoder is None else (decoder.language, decoder.task),
        data.name,
        data.split,
        data.sha256,
        data.normalizer,
        data.language,
        result.metric,
        result.delta.unit,
        result.delta.is_old,
        None if result.head is None else result.head.name,
        data.n,
    )


def _title(run: Run) -> str:
    result, decoder = run.result, run.result.model.decoder
    text = f"{plain_id(result.model.target.id)} on {result.data.name}, {result.data.split} ({result.data.n} examples)"
    if decoder is not None and decoder.origin != "vocabulary":
        text += f", {decoder.task} {decoder.language}"
    return text if result.head is None else f"{text}, {result.head.name}"


def _order(run: Run) -> tuple[Any, ...]:
    merge = run.result.merge
    size = len(merge.merged_layers)
    return run.result.train is not None, run.traits["method"], size, merge.layers, sum(merge.lam), merge.control
