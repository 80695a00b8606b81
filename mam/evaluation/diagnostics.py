"""Warnings for the reader of a run's numbers, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from mam.scoring.significance import Difference
from mam.scoring.wording import too_few

LOPSIDED = 1 / 3  # largest share of all changes that one unit may have without a warning


def diagnose(difference: Difference, findings: Sequence[str], note: str) -> list[str]:
    """Return sentences about this run, the most serious first.

    Args:
        difference: between the merged model and its baseline.
        findings: oddities that the task found in the predictions.
        note: the data set's own caveat, or "".
    """
    sentences = []
    if difference.is_significant and difference.absolute > 0:
        sentences.append("significantly worse than its own baseline (p < .05)")
    sentences += findings
    if difference.changed and not difference.can_be_significant:
        sentences.append(too_few(difference))
    if difference.changed and difference.can_be_significant and (difference.largest or 0.0) > LOPSIDED:
        share = f"{100 * (difference.largest or 0.0):.0f} %"
        sentences.append(
            f"one {difference.unit} accounts for {share} of all changes, but the test assumes changes of similar size"
        )
    return [*sentences, note] if note else sentences
