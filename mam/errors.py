"""What can go wrong, as a tree. Every message names the value, the place and the remedy.

MamError            exit code 1
├── ConfigError     exit code 2; carries every problem found, not only the first
├── DataError       a data set, a metadata line, a recording
├── CheckpointError a model's folder, hub id or weights
├── MergeError      blocks, layers or shapes that do not fit together
│   └── UnfitError  a method or an alignment that this pair of models does not allow; a study leaves the run out
├── TrainingError   a training that cannot start, go on or be resumed
└── RecordError     a run folder that cannot be written or read
"""

from __future__ import annotations

from collections.abc import Sequence


class MamError(Exception):
    """An error that the user can mend; shown as one message without a traceback."""

    exit_code = 1


class ConfigError(MamError):
    """The configuration is wrong. ``problems`` lists everything that is, one sentence each."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(bullets(self.problems))


class DataError(MamError):
    """A data set, its metadata or a recording is missing or unusable."""


class CheckpointError(MamError):
    """A checkpoint is missing, damaged, or not of the kind that is needed."""


class MergeError(MamError):
    """The target and the source do not fit together as asked."""


class UnfitError(MergeError):
    """A method or an alignment that has no meaning for this pair of models."""


class TrainingError(MamError):
    """A training cannot start, go on, or be resumed."""


class RecordError(MamError):
    """A run folder cannot be written or read."""


def bullets(lines: Sequence[str], most: int = 20) -> str:
    """One line alone; several as a list, cut after ``most`` with a count of the rest."""
    if len(lines) == 1:
        return lines[0]
    shown = [f"  - {line}" for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"  ... and {len(lines) - most} more")
    return "\n".join([f"{len(lines)} problems:", *shown])


def first_line(error: Exception) -> str:
    """What another library's error says, in one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def choices(names: Sequence[str]) -> str:
    """The valid names as one phrase for a message."""
    return ", ".join(sorted(names)) or "(none)"
