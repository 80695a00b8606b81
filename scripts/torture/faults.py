"""A call that writes fails: the disk is full, breaks, or may not be written, once or from then on."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from scripts.torture import judge, shim
from scripts.torture.cases import Case
from scripts.torture.commands import WRITERS, against, reference
from scripts.torture.shim import Fault
from scripts.torture.turn import NotHereError
from scripts.torture.warm import Command
from scripts.torture.world import Place

KIND = "write faults"
# Kinds of calls, error, whether all later ones fail too, and at which share of the calls.
PLANS: tuple[tuple[tuple[str, ...], str, bool, tuple[float, ...]], ...] = (
    (("open",), "ENOSPC", False, (0.0, 0.4, 0.8)),
    (("open",), "EACCES", False, (0.2, 1.0)),
    (("write",), "ENOSPC", False, (0.0, 0.3, 0.6, 1.0)),
    (("write",), "EIO", True, (0.1, 0.5, 0.9)),
    (("rename",), "ENOSPC", False, (0.0, 0.5, 1.0)),
    (("fsync",), "EIO", False, (0.0, 0.5, 1.0)),
    (("mkdir",), "ENOSPC", False, (0.0, 0.5, 1.0)),
    (("unlink",), "EACCES", False, (0.0, 1.0)),
    (("open", "write", "mkdir"), "ENOSPC", True, (0.0, 0.25, 0.5, 0.75)),
    (shim.KINDS, "EROFS", True, (0.0, 0.35, 0.7)),
)
CORE = ("run", "sweep", "lmam", "export", "merge", "report")  # the others get a third of the faults
FAILED = ("incomplete", "temporary", "empty folder", "left behind")  # what cannot be removed when removing fails


def cases() -> list[Case]:
    """Return all faults of all commands that write."""
    made: list[Case] = []
    for name in WRITERS:
        for number, (kinds, error, lasting, shares) in enumerate(PLANS):
            for step, share in enumerate(shares):
                if name not in CORE and (step + number) % 3:
                    continue
                what = "any call" if len(kinds) > 3 else ", ".join(kinds)
                title = f"{name}: {what} at {share:.0%}, {error} {'from then on' if lasting else 'once'}"
                quick = (len(made) + number) % 11 == 0 and name not in ("events", "lmam", "finetune", "cmaes")
                made.append(Case(KIND, title, partial(act, name, kinds, error, lasting, share), quick))
    return made


def nth(count: int, share: float) -> int:
    """Return which call (from 1) is at a share of all calls."""
    return 1 + round(share * (count - 1))


def act(name: str, kinds: tuple[str, ...], error: str, lasting: bool, share: float, place: Place) -> list[str]:
    """Run a command with a fault, then once more without."""
    if not shim.is_loaded():
        raise NotHereError("there is no C compiler for the shim")
    writer, expected = WRITERS[name], reference(place.world, name)
    count = sum(expected.calls[kind] for kind in kinds)
    if count == 0:
        raise NotHereError(f"the command makes no such call: {name}, {', '.join(kinds)}")
    writer.prepare(place)
    place.changing = writer.changing(place)
    before = set(judge.snapshot(place.root))
    fault = Fault(kinds, nth(count, share), error, lasting)
    seen, found = place.judged(lambda: place.do(Command(writer.words, fault=fault)))
    if "unlink" in kinds:
        found = [complaint for complaint in found if not complaint.startswith(FAILED)]
        before |= set(judge.snapshot(place.root))
    if seen.failed:
        if seen.code == 0:
            found += against(expected, place, writer, is_whole=True)
        else:
            found += judge.of_refusal(seen)
            found += against(expected, place, writer, is_whole=False)
    complaints = [f"with a fault ({seen.failed or 'none happened'}): {complaint}" for complaint in found]
    return complaints + again(name, place, before)


def again(name: str, place: Place, before: set[str]) -> list[str]:
    """Run the command undisturbed where it was disturbed; it must leave what it always leaves, and nothing else."""
    writer, expected = WRITERS[name], reference(place.world, name)
    time.sleep(1.1)  # what was made less than a second ago is not taken for what a killed process left
    seen, found = place.judged(lambda: place.do(Command(writer.words)))
    differs = list(against(expected, place, writer, is_whole=True))
    if seen.code != expected.code and not (seen.code == 1 and writer.made and not differs):  # it had been done before
        found.append(f"exit code {seen.code}: {judge.last_line(seen)}")
    found += differs
    new = [path for path in judge.snapshot(place.root) if path not in before]
    found += [f"temporary file stays: {path}" for path in new if judge.is_temporary(place.root / path)]
    known = [str(Path(path).relative_to("work/outputs")) for path in before if path.startswith("work/outputs/")]
    found += [complaint for complaint in judge.of_outputs(place.outputs, known) if complaint not in found]
    return [f"again: {complaint}" for complaint in dict.fromkeys(found)]
