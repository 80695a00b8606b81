"""SIGKILL at a call that writes, and at random moments; the same command again makes up for it."""

from __future__ import annotations

import random
from functools import partial

from scripts.torture import judge, shim
from scripts.torture.cases import Case
from scripts.torture.commands import WRITERS, against, reference
from scripts.torture.faults import CORE, again, nth
from scripts.torture.shim import Fault
from scripts.torture.turn import NotHereError
from scripts.torture.warm import Command
from scripts.torture.world import Place

KIND = "kills"
SHARES = (0.0, 0.12, 0.25, 0.37, 0.5, 0.62, 0.75, 0.87, 1.0)


def cases(seed: int) -> list[Case]:
    """Return kills of all commands that write."""
    made: list[Case] = []
    for name in WRITERS:
        for number, share in enumerate(SHARES if name in CORE else SHARES[1::2]):
            quick = (len(made) + number) % 13 == 0 and name not in ("events", "cmaes", "lmam", "finetune")
            made.append(Case(KIND, f"{name}: at {share:.0%} of its writing", partial(act, name, share, None), quick))
        for number in range(2 if name in CORE else 1):
            moment = random.Random(f"{seed} {name} {number}").random()
            made.append(Case(KIND, f"{name}: at random moment {number + 1}", partial(act, name, None, moment)))
    return made


def act(name: str, share: float | None, moment: float | None, place: Place) -> list[str]:
    """Kill a command, look at what is there, and run it again."""
    writer, expected = WRITERS[name], reference(place.world, name)
    writer.prepare(place)
    place.changing = writer.changing(place)
    before = set(judge.snapshot(place.root))
    if share is not None:
        if not shim.is_loaded():
            raise NotHereError("there is no C compiler for the shim")
        fault = Fault(shim.KINDS, nth(sum(expected.calls.values()), share), kills=True)
        seen = place.do(Command(writer.words, fault=fault))
    else:
        assert moment is not None
        seen = place.do(Command(writer.words, kill_after=moment * expected.seconds))
    complaints = [] if seen.code in (-9, expected.code) else [f"exit code {seen.code}: {judge.last_line(seen)}"]
    complaints += [f"after the kill: {complaint}" for complaint in against(expected, place, writer, is_whole=False)]
    for words in (("ls",), ("report", "outputs", "out=look"), ("cache", "info")):
        place.changing = [*writer.changing(place), place.work / "look"]
        looked = place.do(Command(words))
        wrong = list(judge.of_process(looked))
        if looked.code not in (0, 1) or (looked.code and not looked.text.strip()):
            wrong.append(f"exit code {looked.code}: {judge.last_line(looked)}")
        complaints += [f"mam {words[0]} after the kill: {complaint}" for complaint in wrong]
    return complaints + again(name, place, before)
