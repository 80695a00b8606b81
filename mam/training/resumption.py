"""Unfinished trainings on disk: where they are, which checkpoints are complete, which may be resumed.

outputs/unfinished/<hash>/
    question.json         configuration, data, checkpoints and code; must be the same when the training is resumed
    <fold>.metrics.jsonl  the logs so far
    <fold>/checkpoint-N/  as transformers writes them, plus seal.json, written last: the SHA-256 of every file
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from mam import processes
from mam.errors import TrainingError, bullets, first_line
from mam.files import expanded, sha256_json, write_json

UNFINISHED, QUESTION, SEAL, STATE = "unfinished", "question.json", "seal.json", "trainer_state.json"
KEPT = 2  # newest checkpoints; the best is kept too
LITTLE = 50_000_000  # bytes; with less free space an error blames the full disk

log = logging.getLogger("mam")


@contextmanager
def unfinished(outputs: Path, question: Mapping[str, Any], resume: str) -> Iterator[Path]:
    """Yield the folder of this training, new or found, locked for this run. `forget` removes it after the run.

    Args:
        outputs: where run folders go.
        question: identifies the training, in JSON's types.
        resume: ``auto``; ``no`` to start over; or the folder of an unfinished training.

    Raises:
        TrainingError: another process trains here, or the folder in ``resume`` belongs to another question.
    """
    folder = outputs / UNFINISHED / sha256_json(question)[:16] if resume in ("auto", "no") else expanded(resume)
    if not processes.is_main():
        processes.wait()
        yield folder
        return
    if resume not in ("auto", "no"):
        _refuse_another(folder, question)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(f"{folder}: another process is training this now. Wait for it, or stop it.") from error
    try:
        if resume == "no":
            shutil.rmtree(folder)
        write_json(folder / QUESTION, question)
        processes.wait()
        yield folder
    finally:
        lock.release()


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
            f"{path}: cannot be written ({full}{first_line(error)}). Earlier checkpoints are intact: free space, then"
            " the same command goes on from the last one."
        ) from error


def others_unfinished(outputs: Path, question: Mapping[str, Any]) -> list[str]:
    """Return one sentence per unfinished training of this pair on this data with other settings."""
    sentences, mine = [], sha256_json(question)[:16]
    for path in sorted((outputs / UNFINISHED).glob(f"*/{QUESTION}")):
        with suppress(OSError, ValueError):  # another process may be writing or removing the file
            earlier = json.loads(path.read_text(encoding="utf-8"))
            same = all(earlier.get(key) == question.get(key) for key in ("target", "source", "data"))
            if path.parent.name != mine and same:
                changed = _changes(earlier, question)
                more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
                sentences.append(
                    f"another training is unfinished in {path.parent}: {'; '.join(changed[:2])}{more}. This one begins"
                    " anew; remove that folder if it is not wanted"
                )
    return sentences


def forget(folder: Path) -> None:
    """Remove the folder of a training whose run is finished."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # the parent folder may hold other trainings; leftovers do no harm
        folder.with_name(f".{folder.name}.lock").unlink(missing_ok=True)
        folder.parent.rmdir()


def _refuse_another(folder: Path, question: Mapping[str, Any]) -> None:
    try:
        earlier = json.loads((folder / QUESTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"train.resume={folder}: is not an unfinished training (no {QUESTION} there).") from error
    changed = _changes(earlier, question)
    if changed:
        remedy = ", bring mam's code of then back" if earlier.get("code") != question.get("code") else ""
        raise TrainingError(
            f"train.resume={folder}: was begun with another configuration{remedy and ' or other code'}."
            f" {bullets(changed)}"
            f"\nSay what was said then{remedy}, or train.resume=no to begin anew."
        )


def _changes(earlier: Mapping[str, Any], question: Mapping[str, Any]) -> list[str]:
    then, now = _flat(earlier), _flat(question)
    changes = []
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) == now.get(key):
            continue
        if key == "code":
            changes.append("code: mam's sources are others now")
        else:
            changes.append(f"{key}: {then.get(key, 'not there')} then, {now.get(key, 'not there')} now")
    return changes


def _flat(tree: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(tree, Mapping) and tree:
        return {key: value for name, below in tree.items() for key, value in _flat(below, f"{prefix}{name}.").items()}
    return {prefix.removesuffix("."): json.dumps(tree, ensure_ascii=False)}


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, and remove all but the newest ones and the best."""
    write_json(checkpoint / SEAL, _hashes(checkpoint))
    best = _best(checkpoint)
    for old in _by_step(checkpoint.parent)[:-KEPT]:
        if old.name != best:
            shutil.rmtree(old)


def last_whole(folder: Path, say: Callable[[str], None]) -> Path | None:
    """Return the newest complete checkpoint whose best one is complete too, or None.

    Broken checkpoints are reported by name and removed.
    """
    for checkpoint in reversed(_by_step(folder)):
        problem = _problem(checkpoint)
        if problem is None:
            return checkpoint
        say(f"{checkpoint}: {problem}; it is passed over")
        log.warning("%s: %s; it is passed over", checkpoint, problem)
        shutil.rmtree(checkpoint)
    return None


def _problem(checkpoint: Path) -> str | None:
    own = _damage(checkpoint)
    best = None if own else _best(checkpoint)
    if own or best in (None, checkpoint.name):
        return own
    damage = _damage(checkpoint.parent / str(best))
    return f"its best checkpoint, {best}, is not whole ({damage})" if damage else None


def _damage(checkpoint: Path) -> str | None:
    try:
        sealed = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except OSError:
        return "was not written to the end"
    except ValueError:
        return f"its {SEAL} is broken"
    present = _hashes(checkpoint)
    damaged = [name for name in sealed if present.get(name) != sealed[name]]
    return f"{', '.join(damaged)} changed or missing" if damaged else None


def _best(checkpoint: Path) -> str | None:
    step = json.loads((checkpoint / STATE).read_text(encoding="utf-8")).get("best_global_step")
    return f"checkpoint-{step}" if step else None


def _by_step(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def _hashes(checkpoint: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(checkpoint.iterdir()):
        if path.name != SEAL and not path.name.startswith("."):
            with path.open("rb") as file:
                hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
