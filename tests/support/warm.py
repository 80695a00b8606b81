"""Programs in processes of their own that need not import anything: forks of `support.zygote`.

A program whose environment differs in what libraries read when they are imported is started anew; so is one that has a
`sitecustomize.py` or a mam of its own on its path.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

READ_AT_IMPORT = ("HF_", "HUGGING", "LANG", "LC_", "MPL", "OMP_", "PYTHON", "TORCH", "TRANSFORMERS_", "XDG_CACHE")
READ_BY_FORKS = ("PYTHONPATH", "PYTHONIOENCODING")
REPLACING = ("mam", "sitecustomize.py")
ZYGOTE = Path(__file__).with_name("zygote.py")


def program(
    words: Sequence[str | Path], code: str | None = None, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``mam`` with these words, or a program of Python, and wait for its end."""
    return start(words, code, **environment).wait(timeout)


def start(words: Sequence[str | Path], code: str | None = None, **environment: str) -> Program:
    """Start ``mam`` with these words, or a program of Python."""
    wanted = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    if _zygote and _zygote[0].serves(wanted):
        zygote = _zygote[0]
    elif not _zygote and _imported(wanted) == _imported(os.environ | {"OMP_NUM_THREADS": "1"}):
        zygote = _Zygote()
        _zygote.append(zygote)
    else:
        return Program([str(word) for word in words], code, wanted, None)
    return Program([str(word) for word in words], code, wanted, zygote)


def _imported(environment: Mapping[str, str]) -> dict[str, str]:
    folders = [Path(folder) for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]
    replaced = any((folder / name).exists() for folder in folders for name in REPLACING)
    later = () if replaced else READ_BY_FORKS
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT) and name not in later}


class _Zygote:
    """The process that is forked."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._imported = _imported(environment)
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answers: dict[tuple[int, str], int] = {}
        self._asked = 0
        atexit.register(self._process.kill)

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Return whether what libraries read at their import is as this process found it."""
        return _imported(environment) == self._imported

    def ask(self, request: dict[str, object]) -> int:
        """Send a request; return its number."""
        assert self._process.stdin is not None
        self._asked += 1
        self._process.stdin.write(json.dumps({"number": self._asked, **request}) + "\n")
        self._process.stdin.flush()
        return self._asked

    def answer(self, number: int, what: str) -> int:
        """Wait for an answer: the ``pid`` or the ``code``."""
        assert self._process.stdout is not None
        while (number, what) not in self._answers:
            line = self._process.stdout.readline()
            assert line, "the process that is forked has ended"
            told = json.loads(line)
            self._answers |= {(told["number"], key): value for key, value in told.items()}
        return self._answers[number, what]


@dataclass
class Program:
    """A running program; without a zygote it is a process that was started anew."""

    words: list[str]
    code: str | None
    environment: dict[str, str]
    zygote: _Zygote | None
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mam-program-"))
        self._out, self._err = self._folder / "out", self._folder / "err"
        self._out.touch()
        if self.zygote is None:
            command = [sys.executable, *(["-c", self.code] if self.code else ["-m", "mam"]), *self.words]
            with self._out.open("w") as out, self._err.open("w") as err:
                self._process = subprocess.Popen(command, stdout=out, stderr=err, env=self.environment)
            self.pid = self._process.pid
            return
        request = {"words": self.words, "code": self.code, "environment": self.environment, "folder": str(Path.cwd())}
        self._number = self.zygote.ask(request | {"out": str(self._out), "err": str(self._err)})
        self.pid = self.zygote.answer(self._number, "pid")

    def wait(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Return what the program printed and its exit code; a program that hangs is killed."""
        watchdog = subprocess.Popen(["sh", "-c", f"sleep {timeout}; kill -9 {self.pid}"], start_new_session=True)
        try:
            code = self._process.wait() if self.zygote is None else self.zygote.answer(self._number, "code")
        finally:
            os.killpg(watchdog.pid, signal.SIGKILL)
            watchdog.wait()
        out, err = (path.read_text(encoding="utf-8", errors="backslashreplace") for path in (self._out, self._err))
        shutil.rmtree(self._folder)
        return subprocess.CompletedProcess(self.words, code, out, err)

    @property
    def printed(self) -> str:
        """What the program has printed until now."""
        return self._out.read_text(encoding="utf-8", errors="backslashreplace")

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until the program has printed this."""
        end = time.monotonic() + seconds
        while text not in self.printed:
            assert time.monotonic() < end, f"{text!r} was not printed: {self.printed}"
            time.sleep(0.02)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        os.kill(self.pid, number)


_zygote: list[_Zygote] = []
