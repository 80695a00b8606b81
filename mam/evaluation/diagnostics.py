"""What a reader of the numbers should be told beside them: one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from mam.scoring.significance import Difference

FEW = 30  # below so many clusters a percentile bootstrap is known to be too narrow


def diagnose(difference: Difference, findings: Sequence[str], note: str) -> list[str]:
    """Sentences about this run, the most serious first.

    ``findings`` is what the task found odd in the predictions, ``note`` the data set's own caveat.
    """
    found = []
    if difference.ci95 and difference.ci95[0] > 0:
        found.append("worse than its own baseline: the interval of the difference lies above zero")
    found += findings
    if difference.clusters < FEW:
        found.append(
            f"only {difference.clusters} examples or clusters: the interval is too narrow; test on {FEW} or more"
        )
    return [*found, note] if note else found
