"""A process that has imported everything, whose forks run programs; `support.warm` starts it and asks it.

A request is a line of JSON on standard input: the words or the code of a program, its environment, its folder, and the
files of its streams. Answers are lines of JSON too: the id of a fork's process, and its exit code when it has ended.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import select
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any

IMPORTED = (
    "accelerate datasets evaluate matplotlib.backends.backend_agg scipy.stats sklearn.linear_model"
    " sklearn.model_selection transformers.trainer transformers.models.hubert.modeling_hubert"
    " transformers.models.bert.modeling_bert transformers.models.whisper.modeling_whisper"
    " mam.launch.start mam.report.page mam.runs.compute mam.training.fine_tune"
)


def main() -> None:
    for name in IMPORTED.split():
        import_module(name)
    asked, running = sys.stdin.fileno(), dict[int, int]()
    left = b""
    while True:
        if select.select([asked], [], [], 0.01 if running else None)[0]:
            read = os.read(asked, 1 << 20)
            if not read:
                return
            *lines, left = (left + read).split(b"\n")
            for line in lines:
                request = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _become(request)
                running[pid] = request["number"]
                print(json.dumps({"number": request["number"], "pid": pid}), flush=True)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            answer = {"number": running.pop(pid), "code": os.waitstatus_to_exitcode(status)}
            print(json.dumps(answer), flush=True)


def _become(request: dict[str, Any]) -> None:
    """Run the program; never returns."""
    code = 70
    try:
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        for number, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
            opened = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        os.closerange(3, 64)
        sys.stdin = io.TextIOWrapper(io.FileIO(0), encoding="utf-8")
        encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w")), encoding)
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(2, "w")), encoding, "backslashreplace", line_buffering=True
        )
        vars(sys).update(__stdout__=sys.stdout, __stderr__=sys.stderr)
        code = _run(request["words"], request["code"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _run(words: list[str], code: str | None) -> int:
    """Run the program as the interpreter would; return its exit code."""
    import tempfile

    tempfile.tempdir = None
    sys.argv = ["-c" if code else "mam", *words]
    known = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:0] = ["", *(folder for folder in known if folder not in sys.path)]
    ended = 0
    try:
        if code:
            exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]) | {"__name__": "__main__"})
        else:
            import_module("mam.cli").main()
    except SystemExit as error:
        ended = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        ended = 1
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return ended


if __name__ == "__main__":
    main()
