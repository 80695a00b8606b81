"""Rates by group: by speaker, class, fold or another column of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mam.config.schema import Config
from mam.data.corpus import Corpus
from mam.errors import DataError, choices
from mam.records.parts import GroupRecord, GroupsRecord
from mam.records.reading import PredictionRow
from mam.scoring.significance import LEAST, Difference, holm
from mam.tasks.task import ErrorCounts, paired

NO_GROUPS = ("id", "audio", "text", "index")  # columns that differ from example to example
Value = str | int | None


def refuse_unknown_columns(config: Config, corpus: Corpus) -> None:
    """Raise DataError if a column of ``evaluate.by`` does not exist or has no value, naming those that have some."""
    columns = [name for name in corpus.examples.column_names if name not in NO_GROUPS]
    filled = [name for name in columns if any(value is not None for value in corpus.column(name))]
    for name in config.evaluate.by:
        if name not in filled:
            problem = "has no values in" if name in columns else "is not a column of"
            raise DataError(f"evaluate.by={name}: {problem} data={corpus.name}. Choose from: {choices(filled)}.")


def by_groups(
    config: Config, rows: Sequence[PredictionRow], merged: Sequence[ErrorCounts], baseline: ErrorCounts
) -> list[GroupsRecord]:
    """Compare both sides within every group of every column of ``evaluate.by``, paired as the whole run is.

    Args:
        config: the columns, the test and its seed.
        rows: predictions of the merged target, one per example, with these columns.
        merged: errors of each draw of a random control, or of the one merge.
        baseline: errors of the baseline on the same examples.

    Returns:
        One record a column, with the groups by falling number of examples. Holm's correction is over the groups of a
        column. Groups of fewer than `LEAST` units have no interval.
    """
    return [_by_column(config, name, [row[name] for row in rows], merged, baseline) for name in config.evaluate.by]


def _by_column(
    config: Config, name: str, values: Sequence[Value], merged: Sequence[ErrorCounts], baseline: ErrorCounts
) -> GroupsRecord:
    members: dict[Value, list[int]] = {}
    for i, value in enumerate(values):
        members.setdefault(value, []).append(i)
    ordered = sorted(members, key=lambda value: (-len(members[value]), str(value)))
    groups = [_group(config, value, np.array(members[value]), merged, baseline) for value in ordered]
    adjusted = iter(holm([group.delta.p_value for group in groups if group.delta]))
    return GroupsRecord(name, [replace(group, p_holm=next(adjusted)) if group.delta else group for group in groups])


def _group(
    config: Config, value: Value, members: NDArray[np.int64], merged: Sequence[ErrorCounts], baseline: ErrorCounts
) -> GroupRecord:
    new, old = [_of(side, members) for side in merged], _of(baseline, members)
    length = int(old.lengths.sum())
    if not length:
        return GroupRecord(value, len(members), None, None, None)
    delta: Difference = paired(config, new, [old])
    if delta.clusters < LEAST:
        delta = replace(delta, ci95=None, relative_ci95=None)
    rate = sum(int(side.errors.sum()) for side in new) / (len(new) * length)
    return GroupRecord(value, len(members), rate, int(old.errors.sum()) / length, delta)


def _of(counts: ErrorCounts, members: NDArray[np.int64]) -> ErrorCounts:
    clusters = None if counts.clusters is None else [counts.clusters[i] for i in members]
    return ErrorCounts(counts.errors[members], counts.lengths[members], clusters, counts.unit)
