"""Sending an exported run to the hub. What can be checked without a network is checked first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from mam.data.hub_errors import is_offline
from mam.errors import ConfigError, MamError, RecordError, first_line
from mam.runs.export import export
from mam.runs.model_card import CARD, TAGS

LOGIN = "Log in with `hf auth login`, or set HF_TOKEN"
T = TypeVar("T")
_EXISTS = "{repo}: already exists. Choose another name, or set force=true to add a commit to it."


@dataclass(frozen=True)
class Pushed:
    """The outcome of sending a run.

    Attributes:
        folder: the exported folder, which stays.
        url: where it is on the hub, or None if nothing was sent.
        reason: why nothing was sent, or "".
        remarks: those of the export.
    """

    folder: Path
    url: str | None
    reason: str
    remarks: list[str]


class _UnreachableError(Exception):
    """The hub gives no answer."""


def push(
    run: Path, repo: str, out: Path, private: bool | None = None, fold: str | None = None, force: bool = False
) -> Pushed:
    """Export a finished run into ``out`` and send the folder to the model repository ``repo`` on the hub.

    Without a network the folder is written and checked, and nothing is sent.

    Args:
        run: a run folder.
        repo: OWNER/NAME; the repository is created.
        out: the folder to write; an earlier export in it is replaced.
        private: whether the repository is private. If None, one that exists stays as it is, and a new one is public
            unless its organisation's are private.
        fold: for audio events, if each fold has its own model.
        force: commit onto a repository that exists.

    Raises:
        ConfigError: an invalid name.
        MamError: not logged in, no right to the name, the repository exists, or it is public and not private or vice
            versa. If a new repository was created and nothing sent, the message says so.
        RecordError, CheckpointError, MergeError: the run cannot be exported, or its card is invalid.
    """
    _check_name(repo)
    api, is_private, reason = HfApi(), None, ""
    try:
        if constants.is_offline_mode():
            raise _UnreachableError("HF_HUB_OFFLINE is set")
        _asked(repo, api.whoami)
        is_private = _asked(repo, lambda: _privacy(api, repo))
    except _UnreachableError as error:
        reason = str(error)
    if is_private is not None:
        _refuse_existing(repo, is_private, private, force)
    remarks = export(run, out, fold, force=True)
    _check_card(out / CARD)
    if reason:
        return Pushed(out, None, reason, remarks)
    created = ""
    try:
        if is_private is None:
            _asked(repo, lambda: api.create_repo(repo, private=private, repo_type="model", exist_ok=False))
            created = f". The repository {repo} was created and is empty; set force=true to upload to it"
        sent: Any = _asked(
            repo, lambda: api.upload_folder(repo_id=repo, folder_path=out, commit_message="mam push", repo_type="model")
        )
    except _UnreachableError as error:
        return Pushed(out, None, f"{error}{created}", remarks)
    except MamError as error:
        raise MamError(f"{str(error).rstrip('.')}{created or '.'}") from error
    return Pushed(out, str(sent.commit_url), "", remarks)


def _privacy(api: HfApi, repo: str) -> bool | None:
    """Return whether a repository that exists is private; None if there is none that the user may see."""
    try:
        return bool(api.repo_info(repo, repo_type="model").private)
    except RepositoryNotFoundError:
        return None


def _refuse_existing(repo: str, is_private: bool, private: bool | None, force: bool) -> None:
    """Raise MamError for a repository that exists, unless a commit to it is asked for and it is as private as asked."""
    if not force:
        raise MamError(_EXISTS.format(repo=repo))
    if private is not None and private != is_private:
        now, asked = ("private", "public") if is_private else ("public", "private")
        raise MamError(
            f"{repo}: exists and is {now}, not {asked}. Change that in its settings on the hub, choose another name, or"
            f" set private={str(is_private).lower()} to upload to a {now} one."
        )


def _check_name(repo: str) -> None:
    """Raise ConfigError for a name that the hub does not accept."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"{repo}: is not a valid repository name. {first_line(error)}") from error
    if repo.count("/") != 1:
        raise ConfigError(f"{repo}: has no owner. Write OWNER/NAME, with your user name or an organisation.")


def _check_card(path: Path) -> None:
    """Raise RecordError if the hub's client cannot read the card that was written, or loses any of it."""
    try:
        data = ModelCard.load(path).data
        is_whole = set(TAGS) <= set(data.tags or []) and len(data.eval_results or []) == 1
    except Exception as error:  # PyYAML's errors, and ValueError for metadata
        raise RecordError(f"{path}: is not a valid model card ({first_line(error)}).") from error
    if not is_whole:
        raise RecordError(f"{path}: is not a valid model card (tags or results cannot be read back).")


def _asked(repo: str, call: Callable[[], T]) -> T:
    """Return the hub's answer.

    Raises:
        MamError: the hub refuses.
        _UnreachableError: there is no answer.
    """
    try:
        return call()
    except LocalTokenNotFoundError as error:
        raise MamError(f"{repo}: you are not logged in to the hub. {LOGIN}.") from error
    except HfHubHTTPError as error:
        status, said = error.response.status_code, first_line(error)
        refusals = {
            401: f"{repo}: the hub rejected your token. {LOGIN}.",
            403: f"{repo}: you may not write there ({said}). Use your own user name as the owner, or another token.",
            409: _EXISTS.format(repo=repo),
        }
        if is_offline(error):
            raise _UnreachableError(f"the hub has failed: {said}") from error
        raise MamError(refusals.get(status, f"{repo}: the hub refused the upload: {said}")) from error
    except Exception as error:  # the hub's client raises many types, including those of its HTTP library
        if is_offline(error):
            raise _UnreachableError(f"the hub cannot be reached: {first_line(error)}") from error
        raise MamError(f"{repo}: the upload failed: {type(error).__name__}: {first_line(error)}") from error
