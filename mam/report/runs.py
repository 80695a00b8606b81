"""One finished run for a report. Everything that a report shows is read first, and unreadable runs are refused."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mam.errors import MamError, RecordError
from mam.files import sha256_json
from mam.merging.options import unresolved
from mam.records.index import Index
from mam.records.parts import MergeRecord
from mam.records.reading import read_predictions, read_result
from mam.records.result import RunResult, plain
from mam.records.text import arm_text, lambda_text, layers_text, parts_text, plain_id, sources_text
from mam.records.validity import AGAIN
from mam.report.lambdas import read_course
from mam.small_files import text_lines

OF_CONTROL = ("control", "align")  # options that a control decides
SHOWN = (*OF_CONTROL, "method", "bias", "pairing")  # options with a column of another name


@dataclass(frozen=True)
class Run:
    """A finished run and its traits, by the names of the columns."""

    folder: Path
    result: RunResult

    @cached_property
    def but_for_control(self) -> str:
        """A key that is equal for runs that differ only in their control and its consequences."""
        return sha256_json([self.but_for_control_and_align, self.traits["align"]])

    @cached_property
    def but_for_control_and_align(self) -> str:
        """A key that is equal for runs that differ only in control, alignment and their consequences."""
        result, merge = self.result, self.result.merge
        lams: list[float] | None = merge.lams_by_source
        if result.train and result.train.lam_at_start:
            lams = result.train.lam_at_start
        elif result.is_learnt:
            lams = None
        settings = None if result.train is None else result.train.settings
        traits = [self.traits[name] for name in ("source", "method", "tuned", "seed", "code")]
        return sha256_json([merge.layers, merge.heads, _options(merge), lams, settings, traits, _parts_asked(merge)])

    @cached_property
    def traits(self) -> dict[str, str]:
        """The models and what was done to them, in words."""
        result, merge = self.result, self.result.merge
        return {
            "target": plain_id(result.model.target.id),
            "source": sources_text(result),
            "method": arm_text(result).split(" λ")[0],
            "lam": lambda_text(merge) if result.is_merged else "0",
            "layers": layers_text(merge).removeprefix("layers "),
            "parts": parts_text(merge) + ("" if merge.bias else ", no biases"),
            "heads": "all" if merge.heads is None else ",".join(map(str, merge.heads)),
            "mixed by": merge.method,
            "pairing": merge.pairing,
            "align": merge.align,
            "project": merge.project or "no",
            "alpha": "" if merge.alpha is None else f"{merge.alpha:g}",
            "calibrated on": _calibration_text(merge),
            "control": merge.control if result.is_merged else "none",
            "tuned": result.tune.name if result.tune else "no",
            "seed": _seed_text(result),
            "code": result.code[:8] or "not recorded",
        } | _further_options(merge)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device and code as plain words and numbers."""
        env: dict[str, Any] = plain(self.result.env)
        code = self.result.env.code
        if code is None:
            return env
        env["code"] = code.sha256
        if code.commit:
            state = {True: ", changed", False: "", None: ", changed or not"}[code.dirty]
            env["commit"] = code.commit[:12] + state
        return env


def read_run(folder: Path, index: Index | None = None) -> Run:
    """Return a finished run after checking that everything a report shows can be read.

    A run that the index holds was checked before.

    Raises:
        MamError: its result, configuration, predictions, λ or confusions cannot be read.
    """
    run = Run(folder, read_result(folder))
    if index is not None and index.holds(folder):
        return run
    read_predictions(folder)
    if run.result.train and run.result.train.is_lmam:
        read_course(folder)
    if run.result.task == "events":
        for name in ("confusion.csv", "confusion-baseline.csv"):
            read_confusion(folder / name)
    if index is not None:
        index.add(folder)
    return run


def read_confusion(path: Path) -> tuple[list[str], list[list[int]]]:
    """Return the classes and the counts of true classes by predicted ones. Raises RecordError."""
    try:
        heading, *rows = list(csv.reader(line for _, line in text_lines(path)))
        classes, counts = heading[1:], [[int(count) for count in row[1:]] for row in rows]
        is_square = [row[0] for row in rows] == classes and all(len(row) == len(classes) for row in counts)
        if not is_square or any(count < 0 for row in counts for count in row):
            raise ValueError("it has not a count for every two classes")
    except (MamError, ValueError, IndexError, csv.Error) as error:
        raise RecordError(f"{path}: cannot be read ({error}). {AGAIN}") from error
    return classes, counts


def _options(merge: MergeRecord) -> dict[str, object]:
    """Return the options that two merges of one kind share, apart from λ and places.

    Older results did not record the requested options.
    """
    names = ("method", "pairing", "project", "bias", "alpha", "calibration")
    recorded = {name: plain(getattr(merge, name)) for name in names}
    return recorded if merge.asked is None else recorded | {"asked": unresolved(merge.asked, but_for=OF_CONTROL)}


def _further_options(merge: MergeRecord) -> dict[str, str]:
    """Return the options without a column in `Run.traits`, by name."""
    if merge.asked is None:
        return {}
    return {name: str(value) for name, value in unresolved(merge.asked, but_for=SHOWN).items()}


def _parts_asked(merge: MergeRecord) -> str:
    """Return the requested parts; controls of softer attention or of values alone merge fewer.

    Older results lack them. For such a control qkv is then assumed.
    """
    assumed = merge.parts if merge.control not in ("shrink_qk", "shrink_v") else "qkv"
    return merge.parts_asked or assumed


def _calibration_text(merge: MergeRecord) -> str:
    if merge.calibration is None:
        return ""
    calibration = merge.calibration
    return f"{calibration.audio}, {calibration.source}, {calibration.limit}"


def _seed_text(result: RunResult) -> str:
    if result.train is None:
        return ""
    seed = result.train.settings.get("seed", result.seeds.training)
    return "" if seed is None else str(seed)
