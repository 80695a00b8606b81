"""Unfinished trainings and searches on disk: where they are, and which may be resumed.

outputs/unfinished/<hash>/
    question.json         configuration, data, checkpoints and code; must be the same when the training is resumed
    <fold>.metrics.jsonl  the logs so far, for the user; a resumed training takes them from its checkpoint
    <fold>/checkpoint-N/  see `mam.training.sealing`
    known.json            of a search for λ, see `mam.tuning.known`
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from mam import processes
from mam.errors import MamError, TrainingError, bullets, first_line
from mam.files import expanded, own_folder, remove, sha256_json, write_json
from mam.small_files import read_json

UNFINISHED, QUESTION = "unfinished", "question.json"
LITTLE = 50_000_000  # bytes; with less free space an error blames the full disk

log = logging.getLogger("mam")


@contextmanager
def unfinished(
    outputs: Path, question: Mapping[str, Any], resume: str, say: Callable[[str], None] = log.warning
) -> Iterator[Path]:
    """Yield the folder of this training or search, new or found, locked for this run; `forget` removes it at the end.

    Args:
        outputs: where run folders go.
        question: identifies the training, in JSON's types.
        resume: ``auto``; ``no`` to start over; or the folder of an unfinished training.
        say: is told of a damaged question.json, which ``auto`` writes anew: the folder is found by the question's hash.

    Raises:
        TrainingError: another process trains here, or the folder in ``resume`` belongs to another question or to none.
        MamError: something else has the folder's name, or it cannot be written.
    """
    folder = folder_of(outputs, question) if resume in ("auto", "no") else expanded(resume)
    if not processes.is_main():
        processes.wait()
        yield folder
        return
    if resume not in ("auto", "no"):
        _refuse_another(folder, question)
    own_folder(folder.parent)
    with _locked(folder) as is_free:
        if not is_free:
            raise TrainingError(f"{folder}: another process is running this training. Wait for it, or stop it.")
        if resume == "no":
            remove(folder)
        _note(own_folder(folder) / QUESTION, question, say)
        processes.wait()
        yield folder


def folder_of(outputs: Path, question: Mapping[str, Any]) -> Path:
    """Return the folder of an unfinished training or search, which need not exist."""
    return outputs / UNFINISHED / sha256_json(question)[:16]


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Yield whether no other process holds the lock of a folder; hold it in this context."""
    path = _lock_of(folder)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be locked ({error.strerror or error}). Remove it, or make its folder writable."
        ) from error
    try:
        yield True
    finally:
        lock.release()


def _note(path: Path, question: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Write the question, unless it is there; what is damaged is reported."""
    if os.path.lexists(path):
        try:
            if read_json(path) == question:
                return
            say(f"{path}: does not match its folder and is written again")
        except MamError as error:
            say(f"{error} It is written again")
        remove(path)
    write_json(path, question)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Raise TrainingError if ``path`` cannot be written in this context, such as on a full disk."""
    try:
        yield path
    except (OSError, SafetensorError, RuntimeError) as error:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        full = f"only {free / 1e6:.0f} MB are free; " if free < LITTLE else ""
        raise TrainingError(
            f"{path}: cannot be written ({full}{first_line(error)}). Earlier checkpoints are intact. Free disk space;"
            " the same command then continues from the last checkpoint."
        ) from error


def others_unfinished(outputs: Path, question: Mapping[str, Any]) -> list[str]:
    """Return one sentence per unfinished training of this pair on this data with other settings."""
    sentences, mine = [], sha256_json(question)[:16]
    for path in (folder / QUESTION for folder in sorted((outputs / UNFINISHED).glob("*/"))):
        if path.parent.name == mine or not os.path.lexists(path):
            continue
        try:
            earlier = read_json(path)
            if not isinstance(earlier, dict):
                raise MamError(f"{path}: does not describe a training.")
        except MamError as error:
            if os.path.lexists(path):  # else another process has removed it by now
                sentences.append(f"{error} Remove {path.parent} if it is not needed")
            continue
        if all(earlier.get(key) == question.get(key) for key in ("target", "source", "data")):
            changed = _changes(earlier, question)
            more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
            sentences.append(
                f"{path.parent} has another, unfinished training ({'; '.join(changed[:2])}{more}). This training starts"
                " from the beginning. Remove that folder if it is not needed"
            )
    return sentences


def forget(folder: Path) -> None:
    """Remove the folder of a training whose run is finished, unless another process trains there."""
    lock = _lock_of(folder)
    if os.path.lexists(folder) or os.path.lexists(lock):
        with suppress(OSError, MamError), _locked(folder) as is_free:  # leftovers do no harm
            if is_free:
                remove(folder)
                lock.unlink(missing_ok=True)
    with suppress(OSError):  # the parent folder may hold other trainings
        folder.parent.rmdir()


def _refuse_another(folder: Path, question: Mapping[str, Any]) -> None:
    remedy = "Set train.resume=auto to find the training by its configuration, or train.resume=no to start again."
    try:
        earlier = read_json(folder / QUESTION)
    except MamError as error:
        raise TrainingError(f"train.resume={folder}: is not an unfinished training ({error}) {remedy}") from error
    if not isinstance(earlier, dict):
        raise TrainingError(f"train.resume={folder}: its {QUESTION} is not a JSON object. {remedy}")
    changed = _changes(earlier, question)
    if changed:
        remedy = " and mam's code of that time" if earlier.get("code") != question.get("code") else ""
        raise TrainingError(
            f"train.resume={folder}: was started with another configuration{remedy and ' or other code'}."
            f" {bullets(changed)}"
            f"\nUse the earlier settings{remedy}, or set train.resume=no to start again."
        )


def _changes(earlier: Mapping[str, Any], question: Mapping[str, Any]) -> list[str]:
    then, now = _flat(earlier), _flat(question)
    changes = []
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) == now.get(key):
            continue
        if key == "code":
            changes.append("code: mam's code has changed")
        else:
            changes.append(f"{key}: was {then.get(key, 'missing')}, is now {now.get(key, 'missing')}")
    return changes


def _flat(tree: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(tree, Mapping) and tree:
        return {key: value for name, below in tree.items() for key, value in _flat(below, f"{prefix}{name}.").items()}
    return {prefix.removesuffix("."): json.dumps(tree, ensure_ascii=False)}
