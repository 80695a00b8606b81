"""Errors of `datasets` and the hub, with their remedies."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager

from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mam.config.data import HubConfig
from mam.data.hub_offline import offline
from mam.errors import DataError, MamError, choices, first_line

UNREACHABLE = (OfflineModeIsEnabled, LocalEntryNotFoundError, ConnectionError, TimeoutError)
# The error of the library that huggingface_hub speaks HTTP with: httpx until 1.x, then httpx2.
HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]


@contextmanager
def translated(hub: HubConfig) -> Iterator[None]:
    """Turn errors of reading into a DataError that names the remedy."""
    try:
        yield
    except MamError:
        raise
    except Exception as error:  # datasets reads many formats, by libraries that share no base of their errors
        raise DataError(_reason(error, hub)) from error


def is_offline(error: BaseException) -> bool:
    """Return whether the hub could not be reached, or is not to be, or fails itself (HTTP status 500 and above)."""
    return any(isinstance(one, UNREACHABLE) or _lacks_answer(one) for one in _chain(error))


def _lacks_answer(error: BaseException) -> bool:
    """Return whether an error of HTTP arose without an answer; a refusal of the hub's is an answer."""
    response = getattr(error, "response", None)
    return isinstance(error, HTTP_ERROR) and (response is None or response.status_code >= 500)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: Exception, hub: HubConfig) -> str:
    place, page = f"data.hub.id={hub.id}", f"https://huggingface.co/datasets/{hub.id}"
    chain = list(_chain(error))
    text = " ".join(str(one) for one in chain)
    if any(isinstance(one, GatedRepoError) for one in chain) or "gated dataset" in text:
        return f"{place}: is gated. Accept its conditions at {page}, then log in with `hf auth login`."
    script = re.search(r"scripts are no longer supported, but found (\S+)", text)
    if script:
        return (
            f"{place}: has a loading script ({script[1]}), which datasets no longer runs. The hub often has a Parquet"
            " copy: set data.hub.revision=refs/convert/parquet and data.hub.config=CONFIGURATION. Otherwise look for a"
            " Parquet copy elsewhere, or read its files with data=audiofolder data.root=FOLDER."
        )
    if any(isinstance(one, RevisionNotFoundError) for one in chain) or re.search(r"Revision '.*' doesn't exist", text):
        return f"{place}: has no revision data.hub.revision={hub.revision}. See {page}."
    if any(isinstance(one, RepositoryNotFoundError | DatasetNotFoundError) for one in chain):
        return f"{place}: there is no such data set, or it is private. See {page}; log in with `hf auth login`."
    named = re.search(r"(?:Available|available configs): (\[.*?\])", text)
    if named and ("BuilderConfig" in text or "Config name is missing" in text):
        asked = (
            "has several configurations" if hub.config is None else f"has no configuration data.hub.config={hub.config}"
        )
        return f"{place}: {asked}. Set data.hub.config to one of: {_names(named[1])}."
    if "BatchSize must be greater than 0" in text:  # pyarrow of a Parquet file without rows
        return f"{place}: the requested part has no rows."
    if is_offline(error):
        return offline(hub)
    return f"{place}: cannot be read at revision {hub.revision!r} ({type(error).__name__}: {first_line(error)})."


def _names(listed: str) -> str:
    try:
        return choices([str(name) for name in ast.literal_eval(listed)])
    except (ValueError, SyntaxError):
        return listed
