"""What "held" means: the command ended by itself, said what was wrong, and left nothing behind."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.torture.warm import Seen

INDEX = "index.json"  # which a report keeps beside the runs that it read
LONGEST_LINE = 2_000
REFUSAL_CPU = 10.0  # seconds; processor time, because other work slows the clock
TRACES = ("Traceback (most recent call last)", "--- Logging error ---", "Exception ignored", "Fatal Python error")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RUN_FILES = ("predictions.jsonl", "baseline.jsonl", "lambda.csv", "mam.log", ".hydra/config.yaml")
UNFINISHED = "unfinished"  # the folder of what is gone on with
STARTED = ("mam.log", ".hydra", "predictions.jsonl")  # each is a sign that a run was begun in a folder
OF_TORCH = ("torchinductor_", "torchelastic_")  # folders in the temporary one that torch makes and keeps
LEFT = re.compile(r"(^|/)\.[^/]+\.\w{8}(/|$)")  # what a killed process was writing; others remove it
DURATION = re.compile(r"\d+(\.\d+)? s\b")


@dataclass(frozen=True)
class Entry:
    """A file of a snapshot: its type, content and time of change."""

    kind: str
    content: str
    changed: int


def snapshot(root: Path, but_for: Sequence[Path] = ()) -> dict[str, Entry]:
    """Return everything below a folder, without reading what is no regular file."""
    found = {}
    for path in sorted(_below(root, but_for)):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                entry = Entry("file", f"{status.st_size} {hashlib.file_digest(file, 'sha1').hexdigest()}", 0)
            entry = Entry("file", entry.content, status.st_mtime_ns)
        elif stat.S_ISLNK(status.st_mode):
            entry = Entry("link", str(path.readlink()), 0)
        else:
            entry = Entry("folder" if stat.S_ISDIR(status.st_mode) else "special", "", 0)
        found[str(path.relative_to(root))] = entry
    return found


def _below(folder: Path, but_for: Sequence[Path]) -> Iterator[Path]:
    with suppress(PermissionError, FileNotFoundError):
        for path in folder.iterdir():
            if path in but_for or path.name.startswith(OF_TORCH):
                continue
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from _below(path, but_for)


def changes(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Iterator[str]:
    """Yield a complaint for every file that is gone, changed or new."""
    for name, entry in before.items():
        if name not in after:
            if not LEFT.search(name):
                yield f"removed: {name}"
        elif after[name] != entry:
            yield f"changed: {name}"
    for name in after:
        if name not in before and Path(name).name != INDEX:
            yield f"left behind: {name}"


def of_process(seen: Seen) -> Iterator[str]:
    """Yield complaints about how a command ended and what its output looks like."""
    if seen.end:
        yield f"killed: {seen.end}"
        return
    if seen.code < 0:
        yield f"died of signal {-seen.code}"
    elif seen.code not in (0, 1, 2, 130):
        yield f"exit code {seen.code}"
    for trace in TRACES:
        if trace in seen.text:
            yield f"{trace}: {raised(seen)}"
            break
    for name, text in (("stdout", seen.out), ("stderr", seen.err)):
        odd = CONTROL.search(text)
        if odd:
            yield f"{name} has the control character {odd[0]!r}: {text[max(0, odd.start() - 30) : odd.end() + 30]!r}"
        longest = max(map(len, text.splitlines()), default=0)
        if longest > LONGEST_LINE:
            yield f"{name} has a line of {longest} characters"


def of_refusal(seen: Seen, names: Sequence[str] = ()) -> Iterator[str]:
    """Yield complaints about a message: that there is none, that it is late, that it names nothing."""
    if seen.end:
        return
    if seen.code == 0:
        yield f"accepted; stdout ends {seen.out.strip()[-120:]!r}"
        return
    if seen.code in (1, 2) and not seen.text.strip():
        yield "no message"
    if seen.cpu > REFUSAL_CPU:
        yield f"refused after {seen.cpu:.0f} s of computing"
    flat = " ".join(seen.text.split())
    if names and not any(" ".join(name.split()) in flat for name in names):
        yield f"names none of {[name[:60] for name in names]}: {flat[-200:]!r}"


def raised(seen: Seen) -> str:
    """Return the error of a traceback and the last place in mam that it passed through."""
    lines = seen.text.splitlines()
    errors = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Warning|Interrupt)\b", line)]
    places = [line.strip() for line in lines if re.match(r'\s*File ".*/mam/', line)]
    return f"{(errors or [last_line(seen)])[-1][:200]} at {places[-1] if places else 'no place in mam'}"


def last_line(seen: Seen) -> str:
    """Return the last line of the error stream, or of the other."""
    lines = (seen.err.strip() or seen.out.strip()).splitlines()
    return lines[-1][:300] if lines else ""


def of_outputs(outputs: Path, before: Sequence[str] = (), may_resume: bool = False) -> Iterator[str]:
    """Yield complaints about temporary files, incomplete runs and invalid results below a folder.

    With ``may_resume`` the command did not finish, and what a training or a search goes on from may stay.
    """
    if not outputs.is_dir():
        return
    known = set(before)
    for path in sorted(_below(outputs, ())):
        name = str(path.relative_to(outputs))
        if name in known or (may_resume and name.split("/")[0] == UNFINISHED):
            continue
        if is_temporary(path):
            yield f"temporary file left: {name}"
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                yield f"empty folder left: {name}"
            if any((path / sign).exists() for sign in STARTED) and not (path / "result.json").exists():
                held = sorted(entry.name for entry in path.iterdir())
                yield f"incomplete run left: {name} with {held}"
        if path.name == "result.json":
            yield from (f"{name}: {complaint}" for complaint in of_run(path.parent))


def is_temporary(path: Path) -> bool:
    """Return whether a file is one that mam or a library renames when it is whole."""
    is_hidden = path.name.startswith(".") and path.name != ".hydra"
    return not path.is_dir() and (is_hidden or path.suffix in (".tmp", ".incomplete") or "-journal" in path.name)


def of_run(folder: Path) -> Iterator[str]:
    """Yield complaints about a finished run: its schema, and files that are missing."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"cannot be read: {error}"
        return
    misfit = next(_validator().iter_errors(result), None)
    if misfit is not None:
        yield f"does not match the schema: {misfit.json_path} {misfit.message[:100]}"
    yield from (f"there is no {name}" for name in RUN_FILES if not (folder / name).is_file())


@cache
def _validator() -> Any:
    import jsonschema

    import mam

    schema = json.loads((Path(mam.__file__).parent / "records" / "result.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def essence(outputs: Path) -> dict[str, str]:
    """Return what equal commands must write alike: by run, its predictions and metrics."""
    made = {}
    for path in sorted(outputs.rglob("result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        kept = {key: result.get(key) for key in ("hash", "metrics", "baseline", "delta", "merge", "tune", "groups")}
        if isinstance(kept["tune"], dict):
            kept["tune"].pop("seconds", None)
        files = [
            *path.parent.glob("*.jsonl"),
            path.parent / "lambda.csv",
            *path.parent.glob("model*/**/model.safetensors"),
        ]
        names = {str(file.relative_to(path.parent)): file for file in sorted(files) if file.is_file()}
        texts = {name: _digest(file) for name, file in names.items() if name != "metrics.jsonl"}
        made[result["hash"]] = json.dumps({"result": kept, "files": texts}, sort_keys=True)
    return made


def unlike(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Yield the places at which two trees of JSON differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from unlike(old.get(key), new.get(key), f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (first, second) in enumerate(zip(old, new, strict=True)):
            yield from unlike(first, second, f"{place}[{number}]")
    elif old != new:
        yield f"{place} ({str(old)[:60]} became {str(new)[:60]})"


def hash_of(path: Path) -> str:
    """Return the hash of the run in a result.json."""
    return str(json.loads(path.read_text(encoding="utf-8"))["hash"])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(undisturbed: Mapping[str, str], now: Mapping[str, str], is_whole: bool = True) -> Iterator[str]:
    """Yield what differs from the undisturbed runs; with ``is_whole`` also which are missing."""
    for key, text in undisturbed.items():
        if key not in now:
            if is_whole:
                yield f"there is no run {key[:8]}"
        elif now[key] != text:
            unequal = list(unlike(json.loads(text), json.loads(now[key])))
            yield f"run {key[:8]} differs from the undisturbed one in {', '.join(unequal[:6])}"
    for key in now:
        if key not in undisturbed:
            yield f"there is a run {key[:8]} that the undisturbed command does not make"
