"""A process that has imported everything, whose forks run commands: a case costs no imports."""

from __future__ import annotations

import atexit
import importlib
import io
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.torture import shim

CORES = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MPLBACKEND": "agg"}
LATE = """accelerate datasets optuna cmaes matplotlib.pyplot matplotlib.backends.backend_agg matplotlib.font_manager
sklearn.linear_model sklearn.pipeline sklearn.preprocessing scipy.stats jiwer whisper_normalizer.english jsonschema yaml
transformers.models.hubert.modeling_hubert transformers.models.bert.modeling_bert transformers.trainer
transformers.models.whisper.modeling_whisper transformers.models.vit.modeling_vit huggingface_hub.repocard
transformers.models.wav2vec2.modeling_wav2vec2 transformers.models.auto.modeling_auto
transformers.models.auto.processing_auto"""  # what a run imports late
GIGABYTE = 2**30
MEMORY = 3 * GIGABYTE
SECONDS = 60.0
ENOUGH = 4_000_000  # characters of output that are kept


@dataclass(frozen=True)
class Command:
    """What a stranger types. ``code`` is run in Python instead of the words of a command line."""

    words: tuple[str, ...] = ()
    code: str = ""
    env: Mapping[str, str | None] = field(default_factory=dict)
    out: str = "file"  # closed: a pipe that nobody reads; full: /dev/full
    encoding: str = "utf-8"
    is_cold: bool = False  # started as a process of its own
    seconds: float = SECONDS
    memory: int = MEMORY
    fault: shim.Fault | None = None
    kill_after: float | None = None  # seconds until SIGKILL


@dataclass(frozen=True)
class Seen:
    """What a command did. ``code`` is negative for a signal; ``end`` says why it was ended by force."""

    code: int
    out: str
    err: str
    seconds: float
    cpu: float
    peak: int
    end: str = ""
    calls: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""

    @property
    def text(self) -> str:
        """Both streams."""
        return f"{self.out}\n{self.err}"


def warm() -> None:
    """Import mam and all that it imports late; no thread may be left running."""
    import mam

    for module in pkgutil.walk_packages(mam.__path__, "mam."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LATE.split():
        with suppress(ImportError):
            importlib.import_module(name)


def run(command: Command, place: Path, environment: Mapping[str, str], scratch: Path) -> Seen:
    """Run a command in ``place/work`` and wait for it; it is killed when it takes too long or too much."""
    scratch.mkdir(parents=True, exist_ok=True)
    paths = {name: scratch / name for name in ("out", "err", "notes")}
    for path in paths.values():
        path.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _child(command, place, environment, paths)
    return wait(pid, command, paths)


def start(command: Command, place: Path, environment: Mapping[str, str], scratch: Path) -> tuple[int, dict[str, Path]]:
    """Start a command without waiting; `wait` collects it."""
    scratch.mkdir(parents=True, exist_ok=True)
    paths = {name: scratch / name for name in ("out", "err", "notes")}
    pid = os.fork()
    if pid == 0:
        _child(command, place, environment, paths)
    return pid, paths


def wait(pid: int, command: Command, paths: Mapping[str, Path]) -> Seen:
    """Watch time and memory of a command until it ends, then return what it did."""
    began, peak, end = time.monotonic(), 0, ""
    handle = os.pidfd_open(pid)
    try:
        while not select.select([handle], [], [], 0.02)[0]:
            spent = time.monotonic() - began
            peak = max(peak, resident(pid))
            if command.kill_after is not None and spent > command.kill_after:
                _kill(pid)
            elif spent > command.seconds or peak > command.memory:
                end = f"not finished after {spent:.0f} s" if peak <= command.memory else f"{peak / GIGABYTE:.1f} GB"
                _kill(pid)
    finally:
        os.close(handle)
    _, status, usage = os.wait4(pid, 0)
    _kill(pid)  # workers that it left behind
    notes: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        notes = json.loads(paths["notes"].read_text())
    return Seen(
        code=os.waitstatus_to_exitcode(status),
        out=_text(paths["out"]),
        err=_text(paths["err"]),
        seconds=time.monotonic() - began,
        cpu=usage.ru_utime + usage.ru_stime,
        peak=max(peak, usage.ru_maxrss * 1024),
        end=end,
        calls=notes.get("calls", {}),
        failed=notes.get("failed", ""),
    )


def resident(pid: int) -> int:
    """Return the memory of a process and its children in bytes."""
    total = 0
    with suppress(OSError, ValueError, IndexError):
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += resident(int(child))
    return total


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="backslashreplace", newline="") as file:
            return file.read(ENOUGH)
    except OSError:
        return ""


def _child(command: Command, place: Path, environment: Mapping[str, str], paths: Mapping[str, Path]) -> None:
    """Become the command; never returns."""
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (24 * GIGABYTE, 24 * GIGABYTE))  # the machine itself must survive
        _streams(command, paths)
        os.environ.clear()
        os.environ.update(environment)
        for name, value in command.env.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        os.chdir(place / "work")
        if command.is_cold:
            if command.fault is not None:
                raise NotImplementedError("faults need a warm process")
            words = [sys.executable, *(["-c", command.code] if command.code else ["-m", "mam", *command.words])]
            os.execve(words[0], words, dict(os.environ))
        if shim.is_loaded():
            shim.watch(place, command.fault)
        code = _called(command)
    except BaseException:
        traceback.print_exc()
    finally:
        if shim.is_loaded() and not command.is_cold:
            notes = {"calls": shim.seen(), "failed": shim.failed()}
            shim.watch(Path("/nowhere"))
            with suppress(OSError):
                paths["notes"].write_text(json.dumps(notes))
        os._exit(code)


def _called(command: Command) -> int:
    """Run the command as the interpreter would, up to what it does at exit. Return the exit code."""
    import tempfile

    tempfile.tempdir = None
    sys.argv = ["mam", *command.words]
    code = 0
    try:
        if command.code:
            exec(compile(command.code, "<stranger>", "exec"), {"__name__": "__main__"})
        else:
            from mam.cli import main

            main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except BaseException as error:
        print(f"Exception ignored on flushing sys.stdout: {error!r}", file=sys.stderr)
        code = 120
    with suppress(BaseException):
        sys.stderr.flush()
    return code


def _streams(command: Command, paths: Mapping[str, Path]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if command.out == "closed":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open("/dev/full" if command.out == "full" else paths["out"], os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(writer, 1)
    os.dup2(os.open(paths["err"], os.O_WRONLY | os.O_CREAT, 0o600), 2)
    os.closerange(3, 256)
    errors = "strict" if command.encoding == "utf-8" else "surrogateescape"
    sys.stdin = io.TextIOWrapper(io.FileIO(0), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w")), encoding=command.encoding, errors=errors)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w")), encoding=command.encoding, errors="backslashreplace", line_buffering=True
    )
    vars(sys).update(__stdout__=sys.stdout, __stderr__=sys.stderr)
