"""The tree of errors. Every message names the value, the place and the remedy.

MamError            exit code 1
├── ConfigError     exit code 2; carries every problem found, not only the first
├── DataError       a data set, a metadata line, a recording
├── CheckpointError a model's folder, hub id or weights
├── MergeError      blocks, layers or shapes that do not fit together
│   └── UnfitError  a method or an alignment that this pair of models does not allow; a study leaves the run out
├── TrainingError   a training run that cannot start, continue or be resumed
├── StillQueuedError exit code 0; jobs were left in a queue
├── NotEndedError   jobs in a queue that are no longer waited for
└── RecordError     a run folder that cannot be written or read
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

LONGEST_WORD, LONGEST_LINE = 400, 1600  # characters of a message
# All control characters but the tab, marks of direction, lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class MamError(Exception):
    """An error that the user can fix; shown as one message without a traceback."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(shown(message))  # it names values from outside


class ConfigError(MamError):
    """An invalid configuration.

    ``problems`` lists every mistake found, one sentence each.
    """

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(bullets(self.problems))


class DataError(MamError):
    """A data set, its metadata or a recording that is missing or unusable."""


class CheckpointError(MamError):
    """A checkpoint that is missing, damaged or of the wrong kind."""


class MergeError(MamError):
    """A target and a source that cannot be combined as configured."""


class UnfitError(MergeError):
    """A method or an alignment that has no meaning for this pair of models."""


class TrainingError(MamError):
    """A training run that cannot start, continue or be resumed."""


class StillQueuedError(MamError):
    """The jobs of a plan were left in a queue, as the user asked; nothing failed."""

    exit_code = 0


class NotEndedError(MamError):
    """Jobs in a queue that cannot be waited for any longer; they may end later.

    ``each`` says of one of them how it stands.
    """

    def __init__(self, message: str, each: str) -> None:
        self.each = each
        super().__init__(message)


class RecordError(MamError):
    """A run folder that cannot be written or read."""


def bullets(lines: Sequence[str], most: int = 20) -> str:
    """Return a single line as it is, several as a bulleted list.

    The list is cut after ``most`` lines and ends with a count of the rest.
    """
    if len(lines) == 1:
        return lines[0]
    shown = [f"  - {line}" for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"  ... and {len(lines) - most} more")
    return "\n".join([f"{len(lines)} problems:", *shown])


def in_words(error: OSError) -> str:
    """Return an error of the system as the message of a MamError: its place, its reason and a remedy."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}. Check that it exists and that you may access it."


def first_line(error: Exception) -> str:
    """Return the first line of another library's error message, or the name of its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def choices(names: Sequence[str]) -> str:
    """Return the valid names as one phrase for a message."""
    return ", ".join(sorted(names)) or "(none)"


def nearest(name: str, known: Sequence[str], cutoff: float = 0.6) -> list[str]:
    """Return up to three known names that a misspelt one is close to, the closest first."""
    return difflib.get_close_matches(name, known, n=3, cutoff=cutoff)


def meant(name: str, known: Iterable[str]) -> str:
    """Return the known names that a misspelt one is close to, as a sentence that begins with a blank; "" for none."""
    near = nearest(name, sorted(known), cutoff=0.8)
    return f" Did you mean: {', '.join(near)}?" if near else ""


def shown(text: str) -> str:
    """Return text from outside as it is safe to show: in a terminal, in a log.

    Control characters, marks that reverse the direction of writing, and lone surrogates become escapes such as
    ``\\x1b``. Of a word of more than `LONGEST_WORD` characters, and of a line of more than `LONGEST_LINE`, only the
    beginning and the end are left.
    """
    lines = [_UNSAFE.sub(lambda match: _escaped(match[0]), line) for line in text.split("\n")]
    words = [re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda match: _cut(match[0], LONGEST_WORD), line) for line in lines]
    return "\n".join(_cut(line, LONGEST_LINE) for line in words)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode()


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}... ({len(text)} characters) ...{text[-half // 4 :]}"


def shortened(value: object, most: int = 80) -> str:
    """Return a value as Python writes it, cut to ``most`` characters, for a message."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
