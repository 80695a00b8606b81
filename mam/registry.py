"""Registration of choices by name: methods, schedules, data formats and the like, mam's own and those of plug-ins."""

from __future__ import annotations

import hashlib
import inspect
import marshal
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mam.errors import ConfigError

# A name that Hydra's grammar reads as text without quotes.
NAME = re.compile(r"(?!(?:null|true|false|inf|nan|\d+)$)[A-Za-z0-9][A-Za-z0-9_.-]*", re.IGNORECASE)
Entries = tuple[tuple[dict[str, Any], Any], ...]  # registries with the entry that each of them gets


@dataclass(frozen=True)
class Registration:
    """A name that was registered by code outside mam.

    Attributes:
        kind: The kind of choice, such as ``method``.
        name: The name of the choice.
        owner: The plug-in, or "" for code that belongs to none, such as a cell of a notebook.
        sha256: The hash of the registered code, for an owner of "".
        entries: Each registry with its entry.
    """

    kind: str
    name: str
    owner: str
    sha256: str
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
        raise ConfigError(f"{kind}={name}: cannot be typed. A name has letters, digits, _, . and -, and is no constant")
    owner = _owners[-1] if _owners else ""
    earlier = next((entry for entry in _foreign if (entry.kind, entry.name) == (kind, name)), None)
    if earlier is not None and earlier.owner == owner == "":
        withdraw_one(earlier)
    elif earlier is not None or any(name in registry for registry, _ in entries):
        raise ConfigError(f"{kind}={name}: is registered already by {_who(earlier)}. Choose another name")
    for registry, entry in entries:
        registry[name] = entry
    summary = (getattr(code, "__doc__", None) or "").strip().partition("\n")[0]
    _foreign.append(Registration(kind, name, owner, "" if owner else _code_sha256(code), entries, summary))


def _refuse_signature(kind: str, name: str, code: Any, takes: str) -> None:
    """Raise ConfigError unless a function can be called with these arguments."""
    try:
        signature = inspect.signature(code)
    except (TypeError, ValueError):  # no function, or one that does not tell
        raise ConfigError(f"{kind}={name}: is a {type(code).__name__}, not a function ({takes})") from None
    try:
        signature.bind(*takes.split(", "))
    except TypeError as error:
        raise ConfigError(f"{kind}={name}: takes {signature}, and must take ({takes})") from error


def refuse_bare(decorator: str, argument: object) -> None:
    """Raise ConfigError for a decorator without its parentheses, which would register nothing."""
    if inspect.isroutine(argument) or inspect.isclass(argument):
        raise ConfigError(f"@{decorator} needs parentheses: @{decorator}(...)")


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
    for registration in registrations:
        if any(registration.name in registry for registry, _ in registration.entries):
            raise ConfigError(
                f"{registration.kind}={registration.name}: of the plug-in {registration.owner} was registered by"
                " other code in the meantime. Choose another name"
            )
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


def _code_sha256(code: Any) -> str:
    """Return the hash of a function's or class's source or, where Python keeps none, of its byte code."""
    try:
        return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()
    except (OSError, TypeError):
        functions = [code, *vars(code).values()] if inspect.isclass(code) else [code]
        compiled = [marshal.dumps(function.__code__) for function in functions if hasattr(function, "__code__")]
        return hashlib.sha256(b"".join(compiled) or repr(code).encode()).hexdigest()
