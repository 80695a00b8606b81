"""Registration of choices by name: methods, schedules, data formats and the like, mam's own and those of plug-ins."""

from __future__ import annotations

import hashlib
import inspect
import marshal
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CellType
from typing import Any

from mam.errors import ConfigError

# A name that Hydra's grammar reads as text without quotes.
NAME = re.compile(r"(?!(?:null|true|false|inf|nan|\d+)$)[A-Za-z0-9][A-Za-z0-9_.-]*", re.IGNORECASE | re.ASCII)
EXECUTED = "<string>"  # the file of code that exec made; Python 3.13 takes the text of `python -c` for its source
Entries = tuple[tuple[dict[str, Any], Any], ...]  # registries with the entry that each of them gets


@dataclass(frozen=True)
class Registration:
    """A name that was registered by code outside mam.

    Attributes:
        kind: The kind of choice, such as ``method``.
        name: The name of the choice.
        owner: The plug-in, or "" for code that belongs to none, such as a cell of a notebook.
        code: The registered function or class.
        entries: Each registry with its entry.
    """

    kind: str
    name: str
    owner: str
    code: Any
    entries: Entries
    summary: str = ""


_foreign: list[Registration] = []  # registrations that are now in force and not mam's own
_owners: list[str] = []  # the plug-ins that are being loaded, innermost last


def register(kind: str, name: str, code: Any, *entries: tuple[dict[str, Any], Any], takes: str = "") -> None:
    """Add ``name`` to one or more registries.

    Code that belongs to no plug-in may register a name again, as happens when a notebook's cell is run again.

    Args:
        kind: The kind of choice, for messages.
        name: The name by which a configuration refers to the choice.
        code: The function or class that is registered; it tells who registers.
        entries: Each registry with its entry.
        takes: The arguments that a function must take, for example ``target, source, lam``.

    Raises:
        ConfigError: The name is taken or cannot be typed on a command line, or the function takes other arguments.
    """
    is_code = inspect.isroutine(code) or inspect.isclass(code)
    if is_code and code.__module__.partition(".")[0] == "mam":
        for registry, entry in entries:
            registry.setdefault(name, entry)
        return
    if takes and not inspect.isclass(code):
        _refuse_signature(kind, name, code, takes)
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{kind}={name}: not a valid name. Use letters, digits, _, . and -, and no constant such as null"
        )
    owner = _owners[-1] if _owners else ""
    earlier = next((entry for entry in _foreign if (entry.kind, entry.name) == (kind, name)), None)
    if earlier is not None and earlier.owner == owner == "":
        withdraw_one(earlier)
    elif earlier is not None or any(name in registry for registry, _ in entries):
        raise ConfigError(f"{kind}={name}: is already registered by {_who(earlier)}. Choose another name")
    for registry, entry in entries:
        registry[name] = entry
    summary = (getattr(code, "__doc__", None) or "").strip().partition("\n")[0]
    _foreign.append(Registration(kind, name, owner, code, entries, summary))


def _refuse_signature(kind: str, name: str, code: Any, takes: str) -> None:
    """Raise ConfigError unless a function can be called with these arguments."""
    try:
        signature = inspect.signature(code)
    except (TypeError, ValueError):  # no function, or one that does not tell
        raise ConfigError(f"{kind}={name}: is a {type(code).__name__}. Register a function ({takes})") from None
    try:
        signature.bind(*takes.split(", "))
    except TypeError as error:
        raise ConfigError(f"{kind}={name}: has the arguments {signature}. It must take ({takes})") from error


def refuse_bare(decorator: str, argument: object) -> None:
    """Raise ConfigError for a decorator without its parentheses, which would register nothing."""
    if inspect.isroutine(argument) or inspect.isclass(argument):
        raise ConfigError(f"@{decorator} needs parentheses: @{decorator}(...)")


def refuse_called(decorator: str, argument: object) -> None:
    """Raise ConfigError for a decorator that was given something else than the function below it."""
    if not callable(argument):
        raise ConfigError(f"@{decorator} takes no name. Write @{decorator}; the name of the function is used")


def _who(earlier: Registration | None) -> str:
    if earlier is None:
        return "mam"
    return f"the plug-in {earlier.owner}" if earlier.owner else "this session"


@contextmanager
def registering(owner: str) -> Iterator[None]:
    """Attribute registrations to a plug-in; an error withdraws those made so far."""
    _owners.append(owner)
    try:
        yield
    except BaseException:
        withdraw(owner)
        raise
    finally:
        _owners.pop()


def withdraw(owner: str) -> list[Registration]:
    """Remove the registrations of a plug-in, and return them for `restore`."""
    mine = [entry for entry in _foreign if entry.owner == owner]
    for entry in mine:
        withdraw_one(entry)
    return mine


def withdraw_one(registration: Registration) -> None:
    """Remove a registration."""
    for registry, _ in registration.entries:
        registry.pop(registration.name, None)
    _foreign.remove(registration)


def restore(registrations: Sequence[Registration]) -> None:
    """Add registrations again; raises ConfigError if a name was taken in the meantime."""
    taken = [each for each in registrations if any(each.name in registry for registry, _ in each.entries)]
    if taken:
        raise ConfigError(
            f"{taken[0].kind}={taken[0].name}: the name from the plug-in {taken[0].owner} is now registered by other"
            " code. Choose another name"
        )
    for registration in registrations:
        for registry, entry in registration.entries:
            registry[registration.name] = entry
        _foreign.append(registration)


def foreign() -> list[Registration]:
    """Return the registrations in force that are not mam's own, in order of kind and name."""
    return sorted(_foreign, key=lambda entry: (entry.kind, entry.name))


def summary_of_choice(kind: str, name: str) -> str:
    """Return the first line of the docstring of what a plug-in registered; "" if there is none."""
    registration = next((entry for entry in _foreign if (entry.kind, entry.name) == (kind, name)), None)
    return "" if registration is None else registration.summary


def code_sha256(code: Any) -> str:
    """Return the hash of a function's or class's source (or byte code) and of what it reads of its surroundings.

    Functions and classes of the same module count with their code, other values with their content. A value whose
    content cannot be told is different in every process, so that no earlier result is taken for the present one.
    """
    digest = hashlib.sha256()
    for text in _content(code, set()):
        digest.update(text)
    return digest.hexdigest()


def _content(code: Any, seen: set[int]) -> Iterator[bytes]:
    if id(code) in seen:
        return
    seen.add(id(code))
    functions = [code, *vars(code).values()] if inspect.isclass(code) else [inspect.unwrap(code)]
    compiled = [function for function in functions if hasattr(function, "__code__")]
    source = _source(functions[0])
    yield source or b"".join(marshal.dumps(function.__code__) for function in compiled) or repr(code).encode()
    for function in compiled:
        for name, value in sorted(_read_by(function).items()):
            yield name.encode()
            is_code = inspect.isfunction(value) or inspect.isclass(value)
            if inspect.ismodule(value) or (is_code and value.__module__ != function.__module__):
                yield getattr(value, "__qualname__", value.__name__).encode()
            elif is_code:
                yield from _content(value, seen)
            else:
                yield _value_content(value)


def _source(code: Any) -> bytes:
    """Return the source of a function or class; empty if it is not kept."""
    if getattr(getattr(code, "__code__", None), "co_filename", None) == EXECUTED:
        return b""
    try:
        return inspect.getsource(code).encode()
    except (OSError, TypeError):
        return b""


def _read_by(function: Any) -> dict[str, Any]:
    """Return the globals and the variables of outer functions that a function reads, by name."""
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if inspect.iscode(constant)]
    outer = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    read = {name: function.__globals__[name] for name in names if name in function.__globals__}
    return read | {name: cell.cell_contents for name, cell in outer if cell != CellType()}


def _value_content(value: Any) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception:  # an open file, a lock, a lambda: pickle raises many types
        return f"{os.getpid()}/{id(value)}".encode()
