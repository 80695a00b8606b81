"""What a reader of the numbers should be told beside them: one sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mam.scoring.significance import Difference
from mam.scoring.wer import LENGTH
from mam.tasks.asr import Score

FEW = 30  # below so many clusters a percentile bootstrap is known to be too narrow


def diagnose(predictions: Sequence[dict[str, Any]], merged: Score, difference: Difference, note: str) -> list[str]:
    """Sentences about this run, the most serious first. ``note`` is the data set's own caveat."""
    found = []
    if difference.ci95 and difference.ci95[0] > 0:
        found.append("worse than its own baseline: the interval of the difference lies above zero")
    empty = sum(not row["prediction"].strip() for row in predictions)
    if empty == len(predictions):
        found.append("collapsed: every prediction is empty")
    elif empty:
        found.append(f"{empty} of {len(predictions)} predictions are empty")
    unspoken = int((merged.words[:, LENGTH] == 0).sum())
    if unspoken:
        found.append(
            f"{unspoken} references have no word after normalisation; what was heard there counts as insertions"
        )
    if difference.clusters < FEW:
        found.append(
            f"only {difference.clusters} utterances or clusters: the interval is too narrow; test on {FEW} or more"
        )
    if note:
        found.append(note)
    return found
