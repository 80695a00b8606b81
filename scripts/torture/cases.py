"""A case: a name, and an act that returns what did not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scripts.torture import judge
from scripts.torture.warm import Command
from scripts.torture.world import Place

Prepare = Callable[[Place], Sequence[str] | None]


@dataclass(frozen=True)
class Case:
    """One attack. ``is_quick``: part of what CI runs. ``seconds``: after which the case itself is given up."""

    kind: str
    name: str
    act: Callable[[Place], list[str]]
    is_quick: bool = False
    seconds: float = 300.0


@dataclass(frozen=True)
class Bad:
    """A row of a table of bad input.

    Attributes:
        words: The command; ``{in}``, ``{work}``, ``{root}`` and so on are replaced by the place's folders.
        prepare: Makes the input; the words that it returns replace ``words``.
        names: The message of a refusal contains one of these.
        may_pass: Exit code 0 is right too.
        must_pass: Exit code 0 is the only right one.
        changing: What may change besides outputs and cache, such as ``{work}/merged``.
        may_add: New files are right, but none may be removed or changed.
        code: Python that is run instead of ``words``.
    """

    name: str
    words: tuple[str, ...] = ()
    prepare: Prepare | None = None
    names: tuple[str, ...] = ()
    may_pass: bool = False
    must_pass: bool = False
    env: Mapping[str, str | None] | None = None
    out: str = "file"
    encoding: str = "utf-8"
    code: str = ""
    is_cold: bool = False
    changing: tuple[str, ...] = ()
    may_add: bool = False
    seconds: float = 20.0

    def case(self, kind: str, is_quick: bool = False) -> Case:
        """Return the row as a case."""
        return Case(kind, self.name, self._act, is_quick)

    def _act(self, place: Place) -> list[str]:
        def filled(text: str) -> str:
            for name in ("root", "in", "work", "cache", "tmp", "home"):
                folder = place.root if name == "root" else place.root / name
                text = text.replace(f"{{{name}}}", str(folder))
            return text

        words = self.words
        if self.prepare is not None:
            words = tuple(self.prepare(place) or words)
        env = {name: None if value is None else filled(value) for name, value in (self.env or {}).items()}
        place.changing = [place.root / filled(path) for path in self.changing]
        command = Command(
            tuple(map(filled, words)),
            code=filled(self.code),
            env=env,
            out=self.out,
            encoding=self.encoding,
            is_cold=self.is_cold,
            seconds=self.seconds,
        )
        seen, complaints = place.judged(lambda: place.do(command))
        if self.may_add:
            complaints = [complaint for complaint in complaints if not complaint.startswith("left behind")]
        if self.must_pass:
            if seen.code != 0:
                complaints.append(f"exit code {seen.code}: {judge.last_line(seen)}")
        elif not (self.may_pass and seen.code == 0) and self.out == "file":
            complaints = [*judge.of_refusal(seen, tuple(map(filled, self.names))), *complaints]
        return complaints


def several(kind: str, rows: Sequence[Bad], every: int = 1) -> list[Case]:
    """Return rows as cases; each ``every``-th of them, beginning with the first, is quick."""
    return [row.case(kind, number % every == 0) for number, row in enumerate(rows)]
