"""Collecting finished runs from folders, grouped into comparable ones. Unusable folders are counted and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mam.errors import RecordError
from mam.records.index import Index
from mam.report.found import UNNAMED, find_runs, left_out
from mam.report.paper_table import TABLE, PaperTable, read_paper_table
from mam.report.runs import Run, read_run
from mam.report.study_table import best_on_dev
from mam.scoring.significance import holm
from mam.scoring.wording import counted, enumerated
from mam.studies.evidence import MergedRun
from mam.studies.merges import same_merges

MOST_NAMES = 3  # in the title of a table


@dataclass(frozen=True)
class Group:
    """Runs on the same examples with the same target, scored in the same way. They share one table.

    ``alike`` are further runs that made the same merge as one of ``runs``, by its folder.
    """

    title: str
    runs: list[Run]
    alike: dict[Path, list[Run]] = field(default_factory=dict)

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

    @cached_property
    def chosen(self) -> list[Run]:
        """The best run on dev; empty if dev was not evaluated."""
        return [self.runs[place] for place in sorted(best_on_dev([run.result for run in self.runs]))]

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
            sentences.append(f"{counted(self.repeated, 'repetition')} of the same run left out; the newest is shown")
        if self.alike:
            sentences.append(f"{counted(self.alike, 'run')} in the row of another run that made the same merge")
        older = sum(run.result.delta.is_old for run in self.runs)
        if older:
            sentences.append(
                f"{counted(older, 'run')} tested by an older version, with a bootstrap (p: old): repeat their commands"
            )
        if len(self.groups) > 1:
            sentences.append(f"{len(self.groups)} tables, because runs on other data or targets cannot be compared")
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
    # The newest of each hash; but one that was evaluated on dev too, since that is not part of the hash.
    by_knowledge = sorted(found.runs, key=lambda run: run.result.dev_rate is not None)
    runs_by_hash = {run.result.hash: run for run in by_knowledge}
    repeated = len(found.runs) - len(runs_by_hash)
    if not runs_by_hash:
        what = f"; {len(unfinished)} unfinished, {len(broken)} unreadable" if unfinished or broken else ""
        reasons = "".join(f"\n  - {reason}" for _, reason in broken[:UNNAMED])
        raise RecordError(f"{', '.join(map(str, folders))}: contains no finished run{what}.{reasons}")
    comparable: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs_by_hash.values():
        comparable.setdefault(_comparable(run), []).append(run)
    groups = [_group(runs) for runs in comparable.values()]
    alike = sum(len(runs) for group in groups for runs in group.alike.values())
    return Collection(groups, unfinished, broken, repeated, alike, _tables(folders, broken))


def _group(runs: Sequence[Run]) -> Group:
    """Return the first run of every merge, with the others that made the same one."""
    same = same_merges([run.result for run in runs])
    alike = {runs[i].folder: [runs[other] for other in others] for i, others in same.items() if others}
    return Group(_title(runs), sorted((runs[i] for i in same), key=_order), alike)


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


def _title(runs: Sequence[Run]) -> str:
    """Return the names of the pairs (``model=``), the data and the number of examples."""
    result, decoder = runs[0].result, runs[0].result.model.decoder
    models = list(dict.fromkeys(run.result.model.name for run in runs))
    names = enumerated(models) if len(models) <= MOST_NAMES else f"{len(models)} pairs"
    examples = counted(result.data.n, "example")
    text = f"{names} on {result.data.name}, {result.data.split} ({examples})"
    if decoder is not None and decoder.origin != "vocabulary":
        text += f", {decoder.task} {decoder.language}"
    return text if result.head is None else f"{text}, {result.head.name}"


def _order(run: Run) -> tuple[Any, ...]:
    merge = run.result.merge
    size = len(merge.merged_layers)
    role = merge.control != "none", merge.control
    return run.result.train is not None, run.traits["method"], size, merge.layers, sum(merge.lam), role
