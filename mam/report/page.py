"""`report.html`: all information about some runs on one self-contained page, without network or server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from mam.files import atomic, is_file, local_path, resolved
from mam.identity import VERSION
from mam.records.parts import GroupsRecord
from mam.records.reading import read_config
from mam.report.collect import Collection, Group
from mam.report.files import write_tables
from mam.report.group_table import NAMES, GroupTable, group_table
from mam.report.groups import COLUMNS, group_cells, groups_notes
from mam.report.latex import PREAMBLE, latex
from mam.report.layout import difference_cells
from mam.report.page_pictures import Picture, pictures
from mam.report.runs import Run, read_confusion
from mam.report.utterances import Utterance, changed, utterances, worst
from mam.report.verdict import verdict
from mam.scoring.significance import LEAST
from mam.studies.evidence import Comparison, compared

SHOWN = 8  # utterances of each kind


@dataclass(frozen=True)
class Confusion:
    """True classes by predicted ones; ``most`` is the largest count off the diagonal."""

    label: str
    classes: list[str]
    counts: list[list[int]]
    most: int


@dataclass(frozen=True)
class ByGroup:
    """Rates of the focus by the values of a column."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]


@dataclass(frozen=True)
class Spoken:
    """An utterance with the address of its recording, None where that is not at hand."""

    utterance: Utterance
    audio: str | None


@dataclass(frozen=True)
class Section:
    """One group of runs on the page. ``focus`` is the run whose groups, utterances or confusions are shown."""

    title: str
    verdict: list[str]
    forest: list[Picture]
    table: GroupTable
    pictures: list[Picture]
    comparisons: list[list[str]]
    focus: str
    groups: list[ByGroup]
    changed: list[Spoken]
    worst: list[Spoken]
    confusions: list[Confusion]
    diagnostics: list[tuple[str, int]]
    runs: list[Run]


def write_report(found: Collection, folder: Path) -> Path:
    """Write tables, pictures and the page into ``folder``, and return the path of the page.

    Raises:
        RecordError, ConfigError: predictions or configuration of a finished run cannot be read.
        MamError: the folder cannot be written.
    """
    write_tables(folder, found.groups)
    sections = [_section(group, number, folder) for number, group in enumerate(found.groups, 1)]
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        loader=jinja2.PackageLoader("mam", "report"),
    )
    path = folder / "report.html"
    with atomic(path) as file:
        file.write(
            environment.get_template("page.html.j2").render(
                sections=sections,
                remarks=found.remarks,
                tables=found.tables,
                runs=len(found.runs),
                least=LEAST,
                version=VERSION,
                environments=_environments(found.runs),
                address=partial(_address, folder=folder),
            )
        )
    for table in found.tables:
        with atomic(folder / f"{table.name}.tex") as file:
            file.write(f"{PREAMBLE}\n{latex(table.title, table.headings, table.rows)}")
    return path


def _section(group: Group, number: int, folder: Path) -> Section:
    comparisons = compared(group.merged())
    focus = _focus(group)
    config = read_config(focus.folder)
    speech = utterances(config, focus.folder) if focus.result.task == "asr" else []
    spoken = partial(_spoken, root=None if config.data.root is None else local_path(config.data.root))
    notes = [note for run in group.runs for note in run.result.diagnostics]
    first, further = pictures(group, f"g{number}", folder)
    return Section(
        title=group.title,
        verdict=verdict(group, comparisons),
        forest=first,
        table=group_table(group),
        pictures=further,
        comparisons=[_comparison_row(comparison) for comparison in comparisons],
        focus=", ".join(f"{NAMES.get(key, key)} {focus.traits[key]}" for key in group.varied),
        groups=[_by_group(by) for by in focus.result.groups or ()],
        changed=[spoken(one) for one in changed(speech)[:SHOWN]],
        worst=[spoken(one) for one in worst(speech)[:SHOWN]],
        confusions=_confusions(focus) if focus.result.task == "events" else [],
        diagnostics=[(note, notes.count(note)) for note in dict.fromkeys(notes)],
        runs=group.runs,
    )


def _spoken(utterance: Utterance, root: Path | None) -> Spoken:
    path = None if root is None else root / utterance.audio
    return Spoken(utterance, resolved(path).as_uri() if path is not None and is_file(path) else None)


def _address(path: Path, folder: Path) -> str:
    """Return the address of a run's folder, relative to that of the page, so that both can be moved together."""
    return quote(os.path.relpath(resolved(path), resolved(folder)))


def _focus(group: Group) -> Run:
    """Return the run to show in detail: the best on dev, else the merge of a source that changed most, else any."""
    merged = [run for run in group.runs if run.result.is_merged and run.traits["control"] == "none"]
    best = [run for run in group.chosen if run.result.is_merged]
    ranked = sorted(merged, key=lambda run: -(run.result.delta.changed or 0))
    return next(iter([*best, *ranked, *group.runs]))


def _comparison_row(comparison: Comparison) -> list[str]:
    delta = comparison.difference
    where = ", ".join(f"{NAMES.get(key, key)} {value}" for key, value in comparison.where.items())
    return [where, comparison.control, *difference_cells(delta, comparison.p_holm)]


def _confusions(run: Run) -> list[Confusion]:
    confusions = []
    for label, name in (("merged", "confusion.csv"), ("baseline", "confusion-baseline.csv")):
        classes, counts = read_confusion(run.folder / name)
        off = [count for i, row in enumerate(counts) for j, count in enumerate(row) if i != j]
        confusions.append(Confusion(label, classes, counts, max([1, *off])))
    return confusions


def _by_group(table: GroupsRecord) -> ByGroup:
    headings = [table.by, *(name for name, _ in COLUMNS)]
    return ByGroup(
        f"By {table.by}", headings, list(map(group_cells, table.groups)), groups_notes(table, len(table.groups))
    )


def _environments(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return each distinct set of versions and device once."""
    distinct = {tuple(sorted(run.environment.items())): run.environment for run in runs}
    return list(distinct.values())
