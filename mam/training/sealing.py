"""Checkpoints of an unfinished training: which are whole, which one is gone on from, which are kept.

    <fold>/checkpoint-N/  as transformers writes it, plus seal.json, written last: the SHA-256 of every file

Only what the seal names is loaded. A seal shows that a checkpoint was written to the end and has not changed since; it
is no signature, and whoever may write into the folder can put other weights there and seal them. They cannot have code
run by it: weights are in safetensors, and transformers loads the states of optimizer, scheduler, scaler and random
numbers with torch's ``weights_only``. The pickle training_args.bin is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mam import processes
from mam.errors import MamError, TrainingError
from mam.files import remove, write_json
from mam.small_files import read_json, read_text

SEAL, STATE = "seal.json", "trainer_state.json"
NEEDED = ("model.safetensors", "optimizer.pt", "scheduler.pt", STATE)  # besides the states of random numbers
NUMBERS = ("global_step", "max_steps", "num_input_tokens_seen", "total_flos")  # of the state, besides those checked
KEPT = 2  # newest checkpoints; the best one of each is kept too
LARGEST_SEAL, LARGEST_STATE = 2**20, 2**30  # bytes that are read; the state holds all logs, with every λ

log = logging.getLogger("mam")


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, and remove all but the newest ones and the best of each.

    Raises:
        MamError: the seal cannot be written, or an old checkpoint not removed.
    """
    write_json(checkpoint / SEAL, {path.name: _sha256(path) for path in _visible(checkpoint) if path.name != SEAL})
    whole = _by_step(checkpoint.parent)
    bests = {_best(newest) for newest in whole[-KEPT:]}
    for old in whole[:-KEPT]:
        if old.name not in bests:
            remove(old)


def last_whole(folder: Path, say: Callable[[str], None]) -> Path | None:
    """Return the newest complete checkpoint whose best one is complete too, or None.

    Broken checkpoints, and files that a seal does not name, are reported by name and removed.

    Raises:
        TrainingError: ``folder`` is something else, or another number of processes wrote the checkpoint.
        MamError: what is broken cannot be removed.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise TrainingError(f"{folder}: is not a folder. Remove it.")
    for other in sorted(set(folder.glob("checkpoint-*")) - set(_by_step(folder))):
        say(f"{other}: is not a checkpoint of this training and is ignored")
    for checkpoint in reversed(_by_step(folder)):
        problem = _problem(checkpoint)
        if problem is None:
            _refuse_other_processes(checkpoint)
            for used in {checkpoint, checkpoint.with_name(_best(checkpoint) or checkpoint.name)}:
                _strip(used, say)
            return checkpoint
        say(f"{checkpoint}: {problem}; it is not used")
        log.warning("%s: %s; it is not used", checkpoint, problem)
        remove(checkpoint)
    return None


def _problem(checkpoint: Path) -> str | None:
    own = _damage(checkpoint)
    best = None if own else _best(checkpoint)
    if own or best in (None, checkpoint.name):
        return own
    damage = _damage(checkpoint.with_name(str(best)))
    return f"its best checkpoint, {best}, is damaged ({damage})" if damage else None


def _damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None."""
    if checkpoint.is_symlink() or not checkpoint.is_dir():
        return "is not a folder" if os.path.lexists(checkpoint) else "does not exist"
    try:
        sealed = _sealed(checkpoint)
        damaged = [name for name, sha256 in sealed.items() if _sha256(checkpoint / name) != sha256]
        if damaged:
            return f"{', '.join(damaged)} changed or missing"
        _state(checkpoint)
    except MamError as error:
        return str(error)
    return None


def _sealed(checkpoint: Path) -> dict[str, str]:
    """Return the hashes that a seal holds; MamError if it is missing or broken, or lacks a file that is needed."""
    path = checkpoint / SEAL
    if not os.path.lexists(path):
        raise MamError("was not written completely")
    try:
        sealed = read_json(path, LARGEST_SEAL)
    except MamError as error:
        raise MamError(f"its {SEAL} is damaged ({str(error).removeprefix(f'{path}: ').removesuffix('.')})") from error
    if not isinstance(sealed, dict) or not all(isinstance(sha256, str) for sha256 in sealed.values()):
        raise MamError(f"its {SEAL} is damaged (not a JSON object of hashes)")
    unnamed = [name for name in NEEDED if name not in sealed] or ([] if _random_states(sealed) else ["rng_state.pth"])
    foreign = [name for name in sealed if Path(name).name != name]
    if unnamed or foreign:
        raise MamError(f"its {SEAL} is damaged ({f'names {foreign[0]!r}' if foreign else f'lacks {unnamed[0]}'})")
    return sealed


def _random_states(sealed: dict[str, str]) -> set[str]:
    return {name for name in sealed if re.fullmatch(r"rng_state(_\d+)?\.pth", name)}


def _refuse_other_processes(checkpoint: Path) -> None:
    """Raise TrainingError if another number of processes wrote the checkpoint: random numbers would be others."""
    there, count = _random_states(_sealed(checkpoint)), processes.count()
    if there != ({f"rng_state_{rank}.pth" for rank in range(count)} if count > 1 else {"rng_state.pth"}):
        raise TrainingError(
            f"{checkpoint}: was written by {len(there)} process{'es' if len(there) > 1 else ''}, but now there"
            f" {'is' if count == 1 else 'are'} {count}. Start as many as before, or set train.resume=no to start again."
        )


def _state(checkpoint: Path) -> dict[str, Any]:
    """Return the trainer's state as far as it decides what follows; MamError if it is not that of this checkpoint."""
    path = checkpoint / STATE
    try:
        state = json.loads(read_text(path, LARGEST_STATE))  # NaN is expected: a step in float16 that overflowed
    except (ValueError, RecursionError) as error:
        raise MamError(f"its {STATE} is damaged ({error})") from error
    step = int(checkpoint.name.rpartition("-")[2])
    if not isinstance(state, dict) or state.get("global_step") != step:
        raise MamError(f"its {STATE} does not belong to step {step}")
    best, logs, callbacks = (state.get(key) for key in ("best_global_step", "log_history", "stateful_callbacks"))
    wrong = [key for key in NUMBERS if not _is_number(state.get(key), int | float)]
    if state.get("best_metric") is not None and not _is_number(state["best_metric"], int | float):
        wrong.append("best_metric")
    if best is not None and not (_is_number(best, int) and 0 <= best <= step):
        wrong.append("best_global_step")
    if wrong:
        raise MamError(f"its {STATE} is damaged ({', '.join(wrong)})")
    if not isinstance(logs, list) or not all(isinstance(entry, dict) and _is_log(entry) for entry in logs):
        raise MamError(f"its {STATE} is damaged (log_history)")
    saved = callbacks.get("TrainerControl", {}) if isinstance(callbacks, dict) else None
    if not isinstance(saved, dict) or not isinstance(saved.get("args", {}), dict):
        raise MamError(f"its {STATE} is damaged (stateful_callbacks)")
    return state


def _is_log(entry: dict[str, Any]) -> bool:
    return _is_number(entry.get("step"), int) and all(_is_number(value, int | float) for value in entry.values())


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _best(checkpoint: Path) -> str | None:
    """Return the name of a checkpoint's best one, or None if it has none or cannot be read."""
    try:
        step = _state(checkpoint).get("best_global_step")
    except MamError:
        return None
    return f"checkpoint-{step}" if step else None


def _strip(checkpoint: Path, say: Callable[[str], None]) -> None:
    """Remove what the seal does not name: transformers would load some of it, such as other weights."""
    sealed = _sealed(checkpoint)
    for path in _visible(checkpoint):
        if path.name not in (SEAL, *sealed):
            say(f"{path}: does not belong to the checkpoint and is removed")
            remove(path)


def _by_step(folder: Path) -> list[Path]:
    """Return what is named like a checkpoint, by step."""
    paths = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-[1-9][0-9]{0,17}", path.name)]
    return sorted(paths, key=lambda path: int(path.name.rpartition("-")[2]))


def _visible(checkpoint: Path) -> list[Path]:
    """Return all entries but those that begin with a dot: leftovers of a write that was killed."""
    return sorted(path for path in checkpoint.iterdir() if not path.name.startswith("."))


def _sha256(path: Path) -> str | None:
    """Return the hash of a regular file, or None: a pipe would block, a link may lead anywhere."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # not there, or may not be read; NUL in the name
        return None
