"""Small files from outside: settings, metadata, records of runs. They are checked while they are read.

A file must be regular (a pipe would block, a device never ends) and no larger than a limit. With a folder that it must
not leave, it may be no link to something outside, whose content a message or an export would otherwise show. JSON and
YAML must be of bounded depth, and YAML of bounded size after its aliases are expanded.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from mam.errors import MamError

MB = 2**20
LIMIT = 64 * MB  # of a file that is read whole
LARGE = 4096 * MB  # of a file that is read line by line
LINE = 4 * MB
DEPTH = 100  # of lists and objects in each other
CONVERT = "Convert it, e.g. with iconv -t UTF-8."
NODES = 100_000  # values of a YAML file
try:
    YAML_PARSER: Any = yaml.CSafeLoader
except AttributeError:  # PyYAML was built without libyaml
    YAML_PARSER = yaml.SafeLoader


def open_regular(path: Path, limit: int = LIMIT, within: Path | None = None) -> BinaryIO:
    """Open a regular file to read its bytes, without waiting for another process.

    Args:
        path: The file.
        limit: The largest size in bytes.
        within: The folder that the file must not leave by a link; None if it may be anywhere.

    Raises:
        MamError: There is no such file, it may not be read, is no regular file, is too large, or leads out of
            ``within``.
    """
    try:
        leaves = within is not None and not is_inside(path, within)
        handle = -1 if leaves else os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in the name, or links in a circle
        raise MamError(f"{path}: {getattr(error, 'strerror', None) or error}.") from error
    if leaves:
        raise MamError(f"{path}: is a link to a place outside {within}. Replace it with the file itself.")
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size <= limit:
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISREG(status.st_mode):
        raise MamError(f"{path}: has {_size(status.st_size)}. Such a file may have at most {_size(limit)}.")
    raise MamError(f"{path}: is not a regular file.")


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path lies inside a folder once links are followed; those in a circle, as far as they lead.

    Raises:
        ValueError: The path contains NUL.
    """
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def read_bytes(path: Path, limit: int = LIMIT, within: Path | None = None) -> bytes:
    """Return the content of a file; arguments and errors are those of `open_regular`."""
    with open_regular(path, limit, within) as file:
        try:
            # No more at once than there is: memory is allocated for as many bytes as are asked for.
            content = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
            while len(content) <= limit and (more := file.read(MB)):
                content += more
        except OSError as error:
            raise MamError(f"{path}: {error.strerror or error}.") from error
    if len(content) > limit:  # a file of /proc has no size
        raise MamError(f"{path}: has more than {_size(limit)}, the maximum for such a file.")
    return content


def read_text(path: Path, limit: int = LIMIT, within: Path | None = None) -> str:
    """Return the text of a UTF-8 file without its byte order mark.

    Raises:
        MamError: As `open_regular`, or the file is not UTF-8.
    """
    try:
        return read_bytes(path, limit, within).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MamError(f"{path}: is not UTF-8 text (byte {error.start}). {CONVERT}") from error


def read_json(path: Path, limit: int = LIMIT, within: Path | None = None) -> Any:
    """Return the content of a JSON file.

    Raises:
        MamError: As `read_text`, or the file is no JSON, contains NaN, infinity or lone surrogates, or is nested more
            than `DEPTH` levels deep.
    """
    return parse_json(read_text(path, limit, within), path)


def read_jsonl(path: Path, limit: int = LARGE) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON object a line.

    Raises:
        MamError: As `open_regular`, or a line is no JSON object as `read_json` takes it. The message names the line.
    """
    rows = []
    for number, line in text_lines(path, limit):
        place = f"{path}, line {number}"
        row = parse_json(line, place)
        if not isinstance(row, dict):
            raise MamError(f"{place}: is a JSON {type(row).__name__}, not an object.")
        rows.append(row)
    return rows


def text_lines(path: Path, limit: int = LARGE, within: Path | None = None) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a UTF-8 file without line endings; a byte order mark is skipped.

    Raises:
        MamError: As `open_regular`; the file is not UTF-8; or a line is longer than `LINE`.
    """
    with open_regular(path, limit, within) as file:
        number = 0
        try:
            while line := file.readline(LINE + 1):
                number += 1
                if len(line) > LINE:
                    raise MamError(f"{path}, line {number}: has more than {_size(LINE)}.")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise MamError(f"{path}, line {number}: is not UTF-8 text (byte {error.start}). {CONVERT}") from error
        except OSError as error:
            raise MamError(f"{path}: {error.strerror or error}.") from error


def parse_json(text: str, place: object, is_distinct: bool = False) -> Any:
    """Return the value of a JSON text that is from ``place``.

    Raises:
        MamError: As `read_json`; or, with ``is_distinct``, a key occurs twice in one object.
    """
    try:
        distinct = _distinct if is_distinct else None
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=distinct)
        text.encode()
        # The values are looked at only where they may hold what is refused, because there may be a million lines.
        if "\\u" in text or text.count("[") + text.count("{") > DEPTH:
            for part in _parts(value):
                if isinstance(part, str):
                    part.encode()
    except RecursionError as error:
        raise MamError(f"{place}: JSON is nested too deeply.") from error
    except UnicodeEncodeError as error:
        raise MamError(f"{place}: has invalid Unicode characters ({error.reason}).") from error
    except ValueError as error:
        raise MamError(f"{place}: cannot be read as JSON ({error}).") from error
    return value


def _parts(value: Any) -> Iterator[Any]:
    """Yield all values and keys of JSON; ValueError if they are nested too deeply."""
    level = [value]
    for _ in range(DEPTH + 1):
        if not level:
            return
        yield from level
        lists = [part for part in level if isinstance(part, list)]
        objects = [part for part in level if isinstance(part, dict)]
        yield from (key for part in objects for key in part)
        level = [below for part in lists for below in part] + [below for part in objects for below in part.values()]
    raise ValueError(f"more than {DEPTH} levels deep")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object from its pairs; ValueError if a key occurs twice."""
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key occurs twice")
    return record


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def read_yaml_text(path: Path, limit: int = MB, within: Path | None = None) -> str:
    """Return the text of a YAML file that is safe to load.

    Raises:
        MamError: As `read_text`, or as `check_yaml`.
    """
    text = read_text(path, limit, within)
    check_yaml(text, path)
    return text


def parse_yaml(text: str, place: object, loader: type[Any] = YAML_PARSER) -> Any:
    """Return the value of a YAML text that is from ``place``, read by a safe ``loader``.

    Raises:
        MamError: As `check_yaml`, or a value cannot be made, such as a date that does not exist.
    """
    with _named(place):
        reader = loader(text)
        node = _checked(text, place, reader)
        return None if node is None else reader.construct_document(node)


def check_yaml(text: str, place: object) -> None:
    """Raise MamError for a text that is no YAML, nested too deeply, or too large once its aliases are expanded."""
    with _named(place):
        _checked(text, place, YAML_PARSER(text))


def _checked(text: str, place: object, reader: Any) -> yaml.Node | None:
    depth = 0
    for event in yaml.parse(text, Loader=YAML_PARSER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise MamError(f"{place}: is nested more than {DEPTH} levels deep.")
    node: yaml.Node | None = reader.get_single_node()
    if _expanded(node) > NODES:
        raise MamError(f"{place}: has more than {NODES} values.")
    return node


@contextmanager
def _named(place: object) -> Iterator[None]:
    """Turn what PyYAML raises into a MamError that names the place."""
    try:
        yield
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).replace("<unicode string>", str(place)).split())
        raise MamError(f"{place}: is not valid YAML: {reason}.") from error


def _expanded(root: yaml.Node | None) -> int:
    """Return the number of values below a node, those of aliases counted wherever they stand."""
    known: dict[int, int] = {}

    def count(node: Any, above: frozenset[int]) -> int:
        if id(node) in above:
            raise ValueError("an alias contains itself")
        if id(node) not in known:
            pairs = node.value if isinstance(node, yaml.CollectionNode) else ()
            below = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
            known[id(node)] = 1 + sum(count(part, above | {id(node)}) for part in below)
        return known[id(node)]

    return 0 if root is None else count(root, frozenset())


def _size(nbytes: int) -> str:
    return f"{nbytes / MB:,.0f} MB" if nbytes >= MB else f"{nbytes:,} bytes"
