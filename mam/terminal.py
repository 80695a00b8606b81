"""Terminal output: progress during a run and one table at its end. Plain text in a pipe; 80 columns are enough."""

from __future__ import annotations

import io
import re
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from mam.errors import shown

HEARTBEAT = 30.0  # seconds between lines on what is being done, where no progress is drawn
WIDEST = 10_000  # width of a line in a pipe, in characters
LABEL = re.compile(r" *(?:- |\S.{0,24}? {2,})?")  # what stands before the text of a line: blanks, a bullet, a label
Advance = Callable[[int, float], None]


class _Speed(ProgressColumn):
    """Clips or steps per second, and seconds of audio per second of work."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        if not elapsed or not task.completed:
            return Text("")
        audio = f" {task.fields['audio'] / elapsed:.0f}× real time" if task.fields["audio"] else ""
        return Text(f"{task.completed / elapsed:.1f} {task.fields['unit']}/s{audio}")


class Terminal:
    """The output of a command: text goes to standard output, errors and progress to standard error.

    ``quiet`` suppresses both.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._doing: Callable[[], str] = lambda: "working"
        self._out = Console(quiet=quiet, highlight=False, force_jupyter=False)
        self._err = Console(quiet=quiet, stderr=True, highlight=False, force_jupyter=False)

    @contextmanager
    def begin(self, command: str) -> Iterator[None]:
        """Name the command at once, and what is being done every `HEARTBEAT` seconds, unless progress is drawn."""
        if self._draws or self._err.quiet:
            yield
            return
        self._err.print(escape(shown(command)), soft_wrap=True)
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()

    def _beat(self, ended: threading.Event) -> None:
        began = time.monotonic()
        while not ended.wait(HEARTBEAT):
            minutes, seconds = divmod(round(time.monotonic() - began), 60)
            self._err.print(escape(f"{minutes}:{seconds:02} {self._doing()}"), soft_wrap=True)

    @property
    def _draws(self) -> bool:
        """True if progress is drawn: standard error is a terminal."""
        return self._err.is_terminal

    @contextmanager
    def _during(self, doing: Callable[[], str]) -> Iterator[None]:
        before, self._doing = self._doing, doing
        try:
            yield
        finally:
            self._doing = before

    @property
    def width(self) -> int:
        """The width of the terminal in characters; that of a line in a pipe is `WIDEST`."""
        return self._out.width if self._out.is_terminal else WIDEST

    def say(self, text: str, style: str = "") -> None:
        """Print plain text, wrapped between words at the width of the terminal; markup in it is not interpreted.

        Args:
            text: one or more lines. What is wrapped is indented as the text of its line is, after any label.
            style: a style of rich, such as ``green``; it has no effect in a pipe or with NO_COLOR.
        """
        self._out.print(Text("\n".join(wrapped(shown(text), self.width)), style), soft_wrap=True)

    def error(self, text: str, start: str = "error:") -> None:
        """Print a message on standard error, wrapped as `say` does."""
        width = self._err.width if self._err.is_terminal else WIDEST
        message = "\n".join(wrapped(f"{start} {shown(text)}", width)).removeprefix(start)
        self._err.print(Text.assemble((start, "bold red"), message), soft_wrap=True)

    def table(self, title: str, table: Table) -> None:
        """Print a table below its title, after an empty line and without trailing blanks.

        Cells are never cut. In a pipe the table is as wide as it needs to be. A terminal that is too narrow shows the
        columns in several parts, one below the other, each starting with the first column.
        """
        self.say("")
        self.say(title)
        for column in table.columns:
            column._cells = [shown(cell) if isinstance(cell, str) else cell for cell in column._cells]
        is_styled = self._out.is_terminal and self._out.color_system is not None
        page = Console(file=io.StringIO(), width=WIDEST, force_terminal=is_styled, highlight=False, force_jupyter=False)
        for part in _parts(table, lambda candidate: page.measure(candidate).maximum <= self.width):
            with page.capture() as capture:
                page.print(part)
            for line in capture.get().splitlines():
                self._out.out(line.rstrip(), highlight=False)

    @contextmanager
    def status(self, what: str) -> Iterator[None]:
        """Show a spinner while something of unknown length happens."""
        with self._during(lambda: what), self._err.status(what) if self._draws else nullcontext():
            yield

    @contextmanager
    def progress(self, label: str, total: int, unit: str = "clips") -> Iterator[Advance]:
        """Show a progress bar over ``total`` clips, or steps of a training.

        Yields:
            A function to call with the clips or steps, and the seconds of audio, just completed.
        """
        columns = (
            TextColumn("{task.description:<13}"),
            BarColumn(20),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, transient=True, disable=not self._draws) as bar:
            task = bar.add_task(label, total=total, audio=0.0, unit=unit)
            seconds, done = 0.0, 0

            def advance(count: int, audio: float) -> None:
                nonlocal seconds, done
                seconds, done = seconds + audio, done + count
                bar.update(task, advance=count, audio=seconds)

            with self._during(lambda: f"{label}: {done} of {total} {unit}"):
                yield advance


def _parts(table: Table, fits: Callable[[Table], bool]) -> Iterator[Table]:
    """Yield the table if it fits, else parts of its columns that fit, each starting with the first column."""
    if fits(table) or len(table.columns) < 3:
        yield table
        return
    first, *others = table.columns
    part = [first]
    for column in others:
        if len(part) > 1 and not fits(_of_columns([*part, column])):
            yield _of_columns(part)
            part = [first]
        part.append(column)
    yield _of_columns(part)


def _of_columns(columns: Sequence[Column]) -> Table:
    table = plain_table(*((str(column.header), column.justify) for column in columns))
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def plain_table(*columns: tuple[str, Any]) -> Table:
    """Create a table without vertical lines; ``columns`` are pairs of heading and justification."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, justify in columns:
        table.add_column(escape(heading), justify=justify, no_wrap=True)
    return table


def wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text, wrapped between words to ``width`` columns.

    Continuation lines are indented to where the text of their line begins: after blanks, a bullet or a label that two
    blanks follow. A word that is wider than the line is left whole, so that paths and commands can be copied.
    """
    return [piece for line in text.split("\n") for piece in _wrapped_line(line, width)]


def _wrapped_line(line: str, width: int) -> Iterator[str]:
    label = LABEL.match(line)
    indent = min(len(label[0]) if label else 0, width // 2)
    current, *words = line[indent:].split(" ")
    current = line[:indent] + current
    for word in words:
        if cell_len(f"{current} {word}") > width:
            yield current.rstrip()
            current = " " * indent + word
        else:
            current = f"{current} {word}"
    yield current.rstrip()


def explained(entries: Mapping[str, str], width: int, indent: int = 2, most: int = 24) -> list[str]:
    """Return lines of names, each with its explanation beside it, which is wrapped at ``width`` characters.

    Names of more than ``most`` characters have their explanation below.
    """
    column = indent + 2 + max((len(name) for name in entries if len(name) <= most), default=0)
    lines = []
    for name, text in entries.items():
        pieces = textwrap.wrap(text, max(20, width - column), break_long_words=False, break_on_hyphens=False)
        start = f"{' ' * indent}{name}"
        if len(name) <= most and pieces:
            start = f"{start:<{column}}{pieces.pop(0)}"
        lines += [start, *(f"{' ' * column}{line}" for line in pieces)]
    return lines


def percent(value: float) -> str:
    """Format a fraction as a percentage: 0.0724 is ``7.24 %``."""
    return f"{hundredfold(value)} %"


def points(value: float | None) -> str:
    """Format a difference of fractions in percentage points with its sign: 0.0027 is ``+0.27``; None is a dash."""
    return "–" if value is None else f"{'+' if value >= 0 else ''}{hundredfold(value)}"


def relative(value: float | None) -> str:
    """Format a relative change with its sign: -0.067 is ``−6.70 %``; None is a dash."""
    return "–" if value is None else f"{points(value)} %"


def hundredfold(value: float) -> str:
    """Format 100 times a fraction with two decimals and a true minus."""
    return true_minus(f"{100 * value:.2f}")


def true_minus(number: str) -> str:
    """Return a number with a minus sign in place of the hyphen that Python writes."""
    return number.replace("-", "−")


def interval(ends: Sequence[float | None] | None) -> str:
    """Format an interval in percentage points, such as ``[+0.27, +2.28]``; None is a dash."""
    return "–" if ends is None else f"[{points(ends[0])}, {points(ends[1])}]"


def p_text(p: float) -> str:
    """Format a p value with three decimals; values below 0.001 are shown as a bound."""
    return "<.001" if p < 0.001 else f"{p:.3f}"
