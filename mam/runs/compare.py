"""Two finished runs over the same examples: the paired difference, and which examples changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mam.errors import RecordError
from mam.records.reading import read_config, read_predictions, read_result, sources_of
from mam.report.plots import METRIC_NAMES, metric_key
from mam.report.utterances import Word, aligned
from mam.scoring.significance import Difference
from mam.scoring.text import normalizer_for
from mam.scoring.wer import Token
from mam.scoring.wording import difference_text, units_text
from mam.tasks import TASKS
from mam.tasks.task import paired
from mam.terminal import Terminal, percent, plain_table

SHOWN = 10


@dataclass(frozen=True)
class Changed:
    """An example that the two runs answer differently; errors of each."""

    id: str
    reference: str
    first: str
    second: str
    errors: tuple[float, float]


@dataclass(frozen=True)
class Compared:
    """``difference`` is the second run minus the first; ``rates`` of each, the draws of a random control averaged."""

    metric: str
    rates: tuple[float, float]
    difference: Difference
    changed: list[Changed]
    n: int
    notes: tuple[str, ...] = ()


def compare(first: Path, second: Path) -> Compared:
    """Compare two runs, paired by example.

    Raises:
        RecordError: not finished, or of other tasks, examples or normalizers: says which and the first that differs.
    """
    results = [read_result(folder) for folder in (first, second)]
    sides = [
        read_predictions(folder, TASKS[result["task"]].REQUIRED)[0]
        for folder, result in zip((first, second), results, strict=True)
    ]
    _refuse(first, second, results)
    config, task = read_config(first), TASKS[results[0]["task"]]
    key = "reference" if results[0]["task"] == "asr" else "label"
    examples = [{row["id"]: row[key] for row in draws[0]} for draws in sides]
    if examples[0] != examples[1]:
        what = _what_differs(examples[0], examples[1], key)
        raise RecordError(f"{first} and {second}: {what}. Compare runs over the same examples.")
    order = [row["id"] for row in sides[0][0]]
    counted = []
    for draws in sides:
        by_id = [{row["id"]: row for row in rows} for rows in draws]
        counted.append([task.counted(config, [rows[name] for name in order]) for rows in by_id])
    old, new = (np.stack([one.errors for one in side]) for side in counted)
    difference = paired(config, counted[1], counted[0])
    total = int(counted[0][0].lengths.sum())
    rates = (float(old.mean(0).sum() / total), float(new.mean(0).sum() / total))
    texts = [{row["id"]: row["prediction"] for row in draws[0]} for draws in sides]
    wrong = list(zip(old.mean(0).tolist(), new.mean(0).tolist(), strict=True))
    changed = [
        Changed(name, examples[0][name], texts[0][name], texts[1][name], errors)
        for name, errors in zip(order, wrong, strict=True)
        if texts[0][name] != texts[1][name]
    ]
    changed.sort(key=lambda one: (-abs(one.errors[1] - one.errors[0]), one.id))
    codes = {sources_of(result) for result in results}
    notes = () if len(codes) == 1 else ("the two were run by different sources of mam: the code may make a difference",)
    return Compared(metric_key(results[0]), rates, difference, changed, len(order), notes)


def _refuse(first: Path, second: Path, results: Sequence[Mapping[str, Any]]) -> None:
    told = {
        "task": [result["task"] for result in results],
        "normalizer": [result["data"]["normalizer"] for result in results],
        "metric": [metric_key(result) for result in results],
        "language": [result["data"].get("language") for result in results],
        "clusters": [read_config(folder).data.clusters for folder in (first, second)],
    }
    for what, values in told.items():
        is_old = what == "language" and any("language" not in result["data"] for result in results)
        if values[0] != values[1] and not is_old:
            remedy = "" if what == "task" else f" Run one again with the other's data.{what}."
            raise RecordError(f"{first} and {second}: their {what} differs, {values[0]} and {values[1]}.{remedy}")


def _what_differs(first: Mapping[str, str], second: Mapping[str, str], key: str) -> str:
    only = [sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys())]
    if any(only):
        named = next(names[0] for names in only if names)
        return f"their examples differ, {len(first)} and {len(second)}, of which e.g. {named!r} is in one only"
    name = next(name for name in first if first[name] != second[name])
    return f"the {key} of {name!r} differs, {first[name][:40]!r} and {second[name][:40]!r}"


def show_comparison(terminal: Terminal, found: Compared, names: Sequence[str], data: Mapping[str, Any]) -> None:
    """Both rates, the difference with its interval, and the most changed examples; ``data`` is that of a result."""
    metric = METRIC_NAMES[found.metric]
    table = plain_table(("", "left"), ("run", "left"), (metric, "right"))
    for letter, name, rate in zip("AB", names, found.rates, strict=True):
        table.add_row(letter, name, percent(rate))
    terminal.table(f"{found.n} examples", table)
    delta = found.difference
    terminal.say("")
    terminal.say(f"B - A: {difference_text(delta)}")
    terminal.say(f"        {units_text(delta)}")
    terminal.say(f"test    {delta.test}")
    for note in found.notes:
        terminal.say(f"note    {note}")
    terminal.say(f"{len(found.changed)} of {found.n} predictions differ")
    for one in found.changed[:SHOWN]:
        terminal.say("")
        terminal.say(f"{one.id}: errors {one.errors[0]:g} -> {one.errors[1]:g}")
        if data["normalizer"] is None:
            terminal.say(f"  is {one.reference}; A says {one.first}, B says {one.second}")
            continue
        normalise = normalizer_for(data["normalizer"], data.get("language"))
        token: Token = "character" if found.metric == "cer" else "word"
        reference = normalise(one.reference)
        terminal.say(f"    {reference}")
        for letter, text in (("A", one.first), ("B", one.second)):
            terminal.say(f"  {letter} {' '.join(map(_marked, aligned(reference, normalise(text), token)))}")
    if len(found.changed) > SHOWN:
        terminal.say(f"... and {len(found.changed) - SHOWN} more")


def _marked(word: Word) -> str:
    return {"equal": "{}", "substitute": "*{}*", "insert": "+{}+", "delete": "-{}-"}[word.kind].format(word.text)
