"""`report.html`: all information about some runs on one self-contained page, without network or server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from mam.files import atomic
from mam.identity import VERSION
from mam.records.parts import GroupsRecord
from mam.records.reading import read_config
from mam.records.text import metric_name
from mam.report.collect import Collection, Group
from mam.report.files import cells, headings, latex, write_tables
from mam.report.groups import COLUMNS, group_cells, groups_notes
from mam.report.lambdas import lambdas_figure
from mam.report.layout import difference_cells
from mam.report.plots import as_svg, curve, differences, is_number, save
from mam.report.runs import Run, read_confusion
from mam.report.study_table import best_on_dev
from mam.report.utterances import Utterance, changed, utterances, worst
from mam.studies.evidence import Comparison, compared, conclusion

SHOWN = 8  # utterances of each kind
COURSES = 4  # trainings whose λ are drawn
DRAWN = 60  # most merges in a picture of differences


@dataclass(frozen=True)
class Picture:
    """A figure of the page: SVG and caption."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Confusion:
    """True classes by predicted ones; ``most`` is the largest count off the diagonal."""

    label: str
    classes: list[str]
    counts: list[list[int]]
    most: int


@dataclass(frozen=True)
class GroupTable:
    """Rates of the focus by the values of a column."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]


@dataclass(frozen=True)
class Section:
    """One group of runs on the page. ``focus`` is the run whose groups, utterances or confusions are shown."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    pictures: list[Picture]
    comparisons: list[list[str]]
    conclusion: str
    focus: str
    groups: list[GroupTable]
    changed: list[Utterance]
    worst: list[Utterance]
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
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((files("mam") / "report" / "page.html.j2").read_text(encoding="utf-8"))
    path = folder / "report.html"
    with atomic(path) as file:
        file.write(
            template.render(
                sections=sections,
                remarks=found.remarks,
                tables=found.tables,
                runs=len(found.runs),
                version=VERSION,
                environments=_environments(found.runs),
            )
        )
    for table in found.tables:
        with atomic(folder / f"{table.name}.tex") as file:
            file.write(latex(table.title, table.headings, table.rows))
    return path


def _section(group: Group, number: int, folder: Path) -> Section:
    comparisons = compared(group.merged())
    focus = _focus(group)
    speech = utterances(read_config(focus.folder), focus.folder) if focus.result.task == "asr" else []
    notes = [note for run in group.runs for note in run.result.diagnostics]
    return Section(
        title=group.title,
        headings=headings(group),
        rows=cells(group),
        pictures=_pictures(group, f"g{number}", folder),
        comparisons=[_comparison_row(comparison) for comparison in comparisons],
        conclusion=conclusion(comparisons, group.runs[0].result.data.n) if comparisons else "",
        focus=", ".join(f"{key} {focus.traits[key]}" for key in group.varied),
        groups=[_group_table(table) for table in focus.result.groups or ()],
        changed=changed(speech)[:SHOWN],
        worst=worst(speech)[:SHOWN],
        confusions=_confusions(focus) if focus.result.task == "events" else [],
        diagnostics=[(note, notes.count(note)) for note in dict.fromkeys(notes)],
        runs=group.runs,
    )


def _focus(group: Group) -> Run:
    """Return the run to show in detail: the best on dev, else the merge of a source with the best rate, else any."""
    chosen = best_on_dev([run.result for run in group.runs])
    merged = [run for run in group.runs if run.result.is_merged and run.traits["control"] == "none"]
    best = [group.runs[place] for place in chosen if group.runs[place].result.is_merged]
    ranked = sorted(merged, key=lambda run: run.result.rate)
    return next(iter([*best, *ranked, *group.runs]))


def _pictures(group: Group, name: str, folder: Path) -> list[Picture]:
    metric = metric_name(group.runs[0].result)
    zero_shot = [run for run in group.runs if not run.result.train]
    pictures = []

    def add(figure: Any, kind: str, caption: str) -> None:
        save(figure, folder / "pictures" / f"{name}-{kind}.png")
        pictures.append(Picture(as_svg(figure, f"{name}-{kind}", caption), caption))

    keys = [key for key in group.varied if key not in ("method", "tuned")]
    tried = [(_traits(run, keys), run.result) for run in zero_shot if is_number(run.traits["lam"])]
    if len({varied["lam"] for varied, _ in tried}) > 2:
        chosen = best_on_dev([result for _, result in tried])
        add(
            curve(tried, metric, chosen),
            "curve",
            f"{metric} over λ. Ribbons: 95 % interval of the difference from λ=0.",
        )
    merged = [run for run in group.runs if run.result.is_merged]
    by_layers = [run for run in merged if not run.result.train]
    has_room = len(merged) <= DRAWN  # with more rows a picture adds nothing to the table
    if has_room and len({run.traits["layers"] for run in by_layers}) > 2:
        shown = [(_traits(run, ["layers", "control", "lam"]), run.result) for run in by_layers]
        add(differences(shown, metric, "by layers"), "layers", f"Change of {metric} by the layers that are merged.")
    elif has_room and len(merged) > 1:
        shown = [(_traits(run, keys), run.result) for run in merged]
        add(differences(shown, metric, "all merges"), "differences", f"Change of {metric} with its 95 % interval.")
    learnt = [run for run in group.runs if run.result.train and run.result.train.is_lmam]
    for place, run in enumerate(learnt[:COURSES]):
        what = ", ".join(f"{key} {run.traits[key]}" for key in group.varied if key != "lam")
        caption = f"λ learnt{f' ({what})' if what else ''}: its course over the steps, and where it ended over depth."
        add(lambdas_figure(run.folder, run.result), f"lambda{place}", caption)
    return pictures


def _traits(run: Run, keys: Sequence[str]) -> dict[str, str]:
    return {key: run.traits[key] for key in keys}


def _comparison_row(comparison: Comparison) -> list[str]:
    delta = comparison.difference
    where = ", ".join(f"{'λ' if key == 'lam' else key} {value}" for key, value in comparison.where.items())
    return [where, comparison.control, *difference_cells(delta, comparison.p_holm)]


def _confusions(run: Run) -> list[Confusion]:
    confusions = []
    for label, name in (("merged", "confusion.csv"), ("baseline", "confusion-baseline.csv")):
        classes, counts = read_confusion(run.folder / name)
        off = [count for i, row in enumerate(counts) for j, count in enumerate(row) if i != j]
        confusions.append(Confusion(label, classes, counts, max([1, *off])))
    return confusions


def _group_table(table: GroupsRecord) -> GroupTable:
    headings = [table.by, *(name for name, _ in COLUMNS)]
    return GroupTable(
        f"by {table.by}", headings, list(map(group_cells, table.groups)), groups_notes(table, len(table.groups))
    )


def _environments(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return each distinct set of versions and device once."""
    distinct = {tuple(sorted(run.environment.items())): run.environment for run in runs}
    return list(distinct.values())
