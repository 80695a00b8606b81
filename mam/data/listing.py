"""What a data set's folder says it holds: rows, and the rule that splits them. One function a format, in FORMATS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mam.errors import DataError, choices

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One example as its metadata has it. ``place`` is file and line; ``audio`` is relative to the root.

    ``text`` is the transcript of speech, ``label`` the class of a sound. ``origin`` is what the recording was cut from:
    clips of one origin are not independent of each other.
    """

    id: str
    audio: str
    text: str
    place: str
    split: str | None = None
    speaker: str | None = None
    label: str | None = None
    fold: int | None = None
    origin: str | None = None
    index: int = -1  # row of the recording in a Parquet copy; -1: ``audio`` is a file


@dataclass(frozen=True)
class Skipped:
    """An example that was left out because ``data.on_bad=skip``, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """All rows of a folder. ``rule`` says in words how ``Example.split`` came about.

    ``left_out`` are recordings that the data set itself is known to lack a text for: (id, reason). They do not stop a
    run, but are counted and shown like skipped ones.
    """

    rows: list[Example]
    rule: str
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Format:
    """A folder layout: how to list it, and what to tell someone who does not have it."""

    list: Callable[[Path], Listing]
    download: str


FORMATS: dict[str, Format] = {}


def folder_format(name: str, download: str) -> Callable[[Callable[[Path], Listing]], Callable[[Path], Listing]]:
    """Register a function ``root -> Listing`` as the format ``name``; ``download`` says where the data come from."""

    def register(function: Callable[[Path], Listing]) -> Callable[[Path], Listing]:
        FORMATS[name] = Format(function, download)
        return function

    return register


def list_folder(name: str, root: Path) -> Listing:
    """List ``root`` in the format ``name``.

    Raises:
        DataError: the folder is missing or empty, or its metadata cannot be read; says what to download.
    """
    if name not in FORMATS:
        raise DataError(f"data.format={name}: not known. Choose one of: {choices(list(FORMATS))}")
    if not root.is_dir():
        raise DataError(f"data.root={root}: there is no such folder. {FORMATS[name].download}")
    if not any(root.iterdir()):
        raise DataError(f"data.root={root}: the folder is empty. {FORMATS[name].download}")
    return FORMATS[name].list(root)


def text_of(path: Path) -> str:
    """The whole of a small text file on one line. Raises DataError, see `lines_of`."""
    return " ".join(line.strip() for _, line in lines_of(path) if line.strip())


def is_blank(fields: Sequence[str]) -> bool:
    """Whether a line of a table says nothing: it is empty, or a spreadsheet's row of empty cells."""
    return not any(field.strip() for field in fields)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 text file without their ends; a byte order mark is skipped.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text (byte {error.start}). Convert it, e.g. with iconv -t UTF-8."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}.") from error
