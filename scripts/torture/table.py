"""All cases by kind."""

from __future__ import annotations

from scripts.torture import (
    checkpoints,
    environment,
    faults,
    folders,
    full_disk,
    kills,
    metadata,
    parsers,
    plug_ins,
    python_face,
    recordings,
    together,
    verbs,
    weights,
    words,
)
from scripts.torture.cases import Case, several

KINDS = ("bad input", "python", "parsers", "write faults", "kills", "at once", "full disk")


def all_cases(seed: int) -> list[Case]:
    """Return every case, in the order in which they are run."""
    tables = (folders, plug_ins, checkpoints, weights, verbs, environment, recordings, metadata, words)
    bad = [row for table in tables for row in table.rows()]
    made = [*several("bad input", bad, 17), *several("python", python_face.rows(), 19), *parsers.cases(seed)]
    return [*made, *faults.cases(), *kills.cases(seed), *together.cases(), *full_disk.cases()]
