"""Cases in turn, each in a process of its own that is killed when it hangs."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.torture.cases import Case
from scripts.torture.world import Place, World


class NotHereError(Exception):
    """A case that is not possible on this machine; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """What became of a case: complaints, or the reason why it was left out."""

    case: Case
    complaints: tuple[str, ...] = ()
    skipped: str = ""
    seconds: float = 0.0


@dataclass
class _Running:
    case: Case
    pid: int
    handle: int
    began: float
    root: Path


def take_turns(
    cases: Sequence[Case], world: World, at_once: int, until: float, keep: Path | None = None
) -> list[Verdict]:
    """Run the cases, ``at_once`` at a time; those that are not begun by ``until`` are left out."""
    waiting, verdicts, running = list(reversed(cases)), list[Verdict](), list[_Running]()
    number = 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                if time.monotonic() > until:
                    verdicts += [Verdict(case, skipped="no time was left") for case in reversed(waiting)]
                    waiting.clear()
                    break
                running.append(_begin(waiting.pop(), world, world.folder / "places" / f"{number:05d}"))
                number += 1
            with selectors.DefaultSelector() as selector:
                for each in running:
                    selector.register(each.handle, selectors.EVENT_READ)
                selector.select(0.5)
            for each in list(running):
                verdict = _ended(each)
                if verdict is not None:
                    running.remove(each)
                    verdicts.append(verdict)
                    say(verdict)
                    _clear(each, verdict, keep)
    finally:  # also after Ctrl-C
        for each in running:
            kill_tree(each.pid)
            unmount_below(each.root)
    return verdicts


def say(verdict: Verdict) -> None:
    """Print what did not hold, as soon as it is known, without any control characters of the case."""
    if verdict.complaints:
        shown = "; ".join(complaint[:400] for complaint in verdict.complaints[:4])
        line = f"NOT HELD {verdict.case.kind}: {verdict.case.name[:200]}: {shown} ({verdict.seconds:.0f} s)"
        print(line.encode("unicode_escape").decode(), flush=True)


def _begin(case: Case, world: World, root: Path) -> _Running:
    sys.stdout.flush()
    root.mkdir(parents=True)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        verdict: dict[str, object] = {}
        try:
            place = Place(world, root)
            verdict["complaints"] = case.act(place)
            if place.last is not None:
                verdict["seen"] = place.last.text[-4000:]
        except NotHereError as error:
            verdict["skipped"] = str(error)
        except BaseException as error:
            verdict["complaints"] = [f"the harness failed: {error!r}: {traceback.format_exc()[-1500:]}"]
        finally:
            root.with_suffix(".verdict").write_text(json.dumps(verdict), encoding="utf-8")
            os._exit(0)
    return _Running(case, pid, os.pidfd_open(pid), time.monotonic(), root)


def _ended(each: _Running) -> Verdict | None:
    """Return the verdict of a case that ended; a case that hangs is killed with all its processes."""
    pid, _ = os.waitpid(each.pid, os.WNOHANG)
    spent = time.monotonic() - each.began
    if pid == 0 and spent < each.case.seconds:
        return None
    if pid == 0:
        kill_tree(each.pid)
        os.waitpid(each.pid, 0)
    os.close(each.handle)
    try:
        told = json.loads(each.root.with_suffix(".verdict").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {"complaints": [f"the case did not end within {spent:.0f} s" if pid == 0 else "the case died"]}
    return Verdict(each.case, tuple(told.get("complaints", ())), told.get("skipped", ""), spent)


def kill_tree(pid: int) -> None:
    """Kill a process and all below it."""
    children: list[str] = []
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(int(child))


def unmount_below(root: Path) -> None:
    """Take away the file systems that a killed case left mounted."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in mounted:
        if place.startswith(f"{root}/"):
            subprocess.run(["umount", "--lazy", place], check=False)


def _clear(each: _Running, verdict: Verdict, keep: Path | None) -> None:
    unmount_below(each.root)
    if verdict.complaints and keep is not None:
        kept = keep / each.case.kind / "".join(letter if letter.isalnum() else "_" for letter in each.case.name)[:120]
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(each.root, kept, symlinks=True, ignore=_specials)
        seen = each.root.with_name(f"{each.root.name}.seen")
        if seen.is_dir():
            shutil.copytree(seen, kept / "seen")
    for path in (each.root, each.root.with_name(f"{each.root.name}.seen")):
        shutil.rmtree(path, ignore_errors=True)
    each.root.with_suffix(".verdict").unlink(missing_ok=True)


def _specials(folder: str, names: list[str]) -> list[str]:
    """Leave out what cannot be copied: pipes, sockets and devices."""
    paths = {name: Path(folder) / name for name in names}
    return [name for name, path in paths.items() if not (path.is_symlink() or path.is_file() or path.is_dir())]
