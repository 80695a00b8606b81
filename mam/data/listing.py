"""The rows of a data set's folder and the rule that splits them; ``FORMATS`` has one function per format."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from mam.config.data import DataConfig
from mam.errors import DataError, MamError, bullets, choices
from mam.files import is_folder
from mam.registry import refuse_bare, register
from mam.small_files import text_lines

SPLITS = ("train", "dev", "test")
FOLDS = range(2**31)


@dataclass(frozen=True, slots=True)
class Example:
    """One example as the metadata describes it.

    ``audio`` is a path relative to the root. ``text`` is the transcript of speech, ``label`` the class of a sound.
    ``origin`` identifies the upload or session that the recording was cut from: clips of one origin are not
    independent. ``place`` is the metadata's file and line. ``further`` has the values of other columns by name, such as
    ``gender``, by which results can be grouped.
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
    index: int = -1  # row of the recording in a hub data set, or -1 if ``audio`` is a file
    further: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SkippedExample:
    """An example that was skipped because of ``data.on_bad=skip``, with the reason."""

    id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """All rows of a folder; ``rule`` describes in words how ``Example.split`` was assigned.

    ``left_out`` are pairs (id, reason) of recordings for which the data set itself has no text. They do not stop a run,
    but are counted and shown like skipped examples. ``note`` says what was recognised on reading, such as columns by
    their usual names; it is shown and recorded with the rule. With ``is_anywhere``, ``Example.audio`` may be outside
    the root, because a file of the data set's own format names such paths.
    """

    rows: list[Example]
    rule: str
    left_out: tuple[tuple[str, str], ...] = ()
    note: str = ""
    is_anywhere: bool = False


@dataclass(frozen=True)
class Format:
    """A folder layout: the function that lists it, how to obtain the data, and whether it reads ``data.columns``.

    ``summary`` describes the layout in a line.
    """

    list: Callable[..., Listing]
    download: str
    summary: str
    reads_config: bool = False


FORMATS: dict[str, Format] = {}
ListFolder = TypeVar("ListFolder", bound=Callable[..., Listing])


def data_format(name: str, download: str, summary: str | None = None) -> Callable[[ListFolder], ListFolder]:
    """Register a function ``root -> Listing`` as the format ``name``.

    A function with a second parameter ``config`` gets the configuration of the data (`mam.config.data.DataConfig`), and
    reads ``data.columns`` and ``data.metadata`` of it.

    Args:
        name: The value of ``data.format``.
        download: Where to get the data; this is added to messages about missing data.
        summary: A description of the layout; ``mam list formats`` shows its first line. Default: the docstring.
    """

    refuse_bare("data_format", name)

    def add(function: ListFolder) -> ListFolder:
        parameters = inspect.signature(function).parameters
        line = (summary or function.__doc__ or download).strip().partition("\n")[0].replace("``", "")
        entry = Format(function, download, line, "config" in parameters)
        register("data", name, function, (FORMATS, entry), takes="root")
        return function

    return add


def list_folder(name: str, root: Path, config: DataConfig | None = None) -> Listing:
    """List ``root`` in the format ``name``.

    Raises:
        DataError: The format is unknown, the folder is missing or empty (the message explains what to download), its
            metadata is unusable, options are given that the format does not read, or it gives examples with fields of
            other types (all of them are listed).
    """
    if name not in FORMATS:
        raise DataError(f"data.format={name}: not known. Choose one of: {choices(list(FORMATS))}")
    if not is_folder(root):
        raise DataError(f"data.root={root}: there is no such folder. {FORMATS[name].download}")
    if not any(root.iterdir()):
        raise DataError(f"data.root={root}: the folder is empty. {FORMATS[name].download}")
    entry = FORMATS[name]
    if config is not None and not entry.reads_config:
        idle = [f"data.columns.{key}" for key in config.columns.asked]
        idle += ["data.metadata"] * (config.metadata is not None)
        if idle:
            raise DataError(
                f"{', '.join(idle)}: has no effect, since data.format={name} has fixed columns. Leave it out."
            )
    listing = entry.list(root, config=config) if entry.reads_config else entry.list(root)
    rows = listing.rows if isinstance(listing, Listing) else None
    if not isinstance(rows, list) or not all(isinstance(row, Example) for row in rows):
        raise DataError(
            f"data.format={name}: returns a {type(listing).__name__}. It must return a Listing with a list of Examples"
        )
    hints = get_type_hints(Example) | {"further": dict}
    problems = [problem for name, hint in hints.items() for problem in _misfits(rows, name, hint)]
    problems += [f"{row.place}: further must map names to text" for row in rows if not _is_text(row.further)]
    if problems:
        raise DataError(bullets([f"data.format={name}: {problem}" for problem in problems]))
    return listing


def _misfits(rows: Sequence[Example], name: str, hint: Any) -> Iterator[str]:
    """Yield what is wrong with a field of all rows; ``hint`` is its type.

    The types and the text of a column are looked at as a whole, since there may be a million rows.
    """
    values = [getattr(row, name) for row in rows]
    wrong = {kind for kind in set(map(type, values)) if kind is bool or not issubclass(kind, hint)}
    is_unicode = _is_unicode("".join(value for value in values if isinstance(value, str)))
    for row, value in zip(rows, values, strict=True) if wrong or not is_unicode or name in ("split", "fold") else ():
        given = f"{row.place}: {name}={value!r}"
        if type(value) in wrong:
            yield f"{given} is not {inspect.formatannotation(hint)}"
        elif isinstance(value, str) and not is_unicode and not _is_unicode(value):
            yield f"{given} has invalid Unicode characters"
        elif name == "split" and value not in (None, *SPLITS):
            yield f"{given} is not one of: {choices(SPLITS)}"
        elif name == "fold" and value is not None and value not in FOLDS:
            yield f"{given} is not a number from 0 to {FOLDS[-1]}"


def _is_text(further: Any) -> bool:
    return not further or all(isinstance(text, str) for pair in dict(further).items() for text in pair)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_of(path: Path, within: Path | None = None) -> str:
    """Return the text of a small file on one line; raises DataError as `lines_of` does."""
    return " ".join(line.strip() for _, line in lines_of(path, within) if line.strip())


def without_ending(name: str) -> str:
    """Return a path without the ending of its last part; what has no last part, such as ``/``, stays as it is."""
    path = Path(name)
    return str(path.with_suffix("") if path.name else path)


def is_blank(fields: Sequence[str]) -> bool:
    """Return whether a table row is empty or has only empty cells, as spreadsheets write them."""
    return not any(field.strip() for field in fields)


def lines_of(path: Path, within: Path | None = None) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a UTF-8 text file without line endings; a byte order mark is skipped.

    Args:
        path: The file.
        within: The folder that the file must not leave by a link; None if it may be anywhere.

    Raises:
        DataError: The file is missing, not UTF-8, no regular file, larger than 4 GB, or leads out of ``within``.
    """
    try:
        yield from text_lines(path, within=within)
    except MamError as error:
        raise DataError(str(error)) from error
