"""All cases by kind."""

from __future__ import annotations

from scripts.torture import recordings, verbs, words
from scripts.torture.cases import Case, several

KINDS = ("bad input", "python", "parsers", "write faults", "kills", "at once", "full disk")


def all_cases(seed: int) -> list[Case]:
    """Return every case, in the order in which they are run."""
    bad = [*words.rows(), *verbs.rows(), *recordings.rows()]
    return several("bad input", bad, 12)
