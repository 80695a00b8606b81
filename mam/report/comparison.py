"""The output of `mam compare` in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mam.records.text import METRIC_NAMES
from mam.report.layout import verdict_style
from mam.report.utterances import Word, aligned
from mam.runs.compare import ChangedExample, RunComparison
from mam.scoring.text import normalizer_for
from mam.scoring.wer import Token
from mam.scoring.wording import counted, difference_text, units_text
from mam.terminal import Terminal, percent, plain_table

SHOWN = 10
MARKS = {"equal": "{}", "substitute": "*{}*", "insert": "+{}+", "delete": "-{}-"}


def show_comparison(terminal: Terminal, comparison: RunComparison, names: Sequence[str]) -> None:
    """Show both rates, the difference with its interval, and the most changed examples."""
    table = plain_table(("", "left"), ("run", "left"), (METRIC_NAMES[comparison.metric], "right"))
    for letter, name, rate in zip("AB", names, comparison.rates, strict=True):
        table.add_row(letter, name, percent(rate))
    terminal.table(f"{comparison.n} examples", table)
    terminal.say("")
    terminal.say(f"B − A: {difference_text(comparison.difference)}", verdict_style(comparison.difference))
    terminal.say(f"        {units_text(comparison.difference)}")
    terminal.say(f"test    {comparison.difference.test}")
    for note in comparison.notes:
        terminal.say(f"note    {note}")
    changed = comparison.changed
    terminal.say(f"{len(changed)} of {counted(comparison.n, 'prediction')} differ")
    if changed and comparison.normalizer is not None:
        terminal.say("below: *substituted*, +inserted+ and -deleted- words")
    for example in changed[:SHOWN]:
        terminal.say("")
        terminal.say(f"{example.id}: {example.errors[0]:g} → {example.errors[1]:g} errors")
        _show_example(terminal, comparison, example)
    if len(changed) > SHOWN:
        terminal.say(f"... and {len(changed) - SHOWN} more")


def _show_example(terminal: Terminal, comparison: RunComparison, example: ChangedExample) -> None:
    if comparison.normalizer is None:
        terminal.say(f"  reference {example.reference}; A {example.first}, B {example.second}")
        return
    normalise = normalizer_for(comparison.normalizer, comparison.language)
    token: Token = "character" if comparison.metric == "cer" else "word"
    reference = normalise(example.reference)
    terminal.say(f"    {reference}")
    for letter, text in (("A", example.first), ("B", example.second)):
        terminal.say(f"  {letter} {' '.join(map(_marked, aligned(reference, normalise(text), token)))}")


def _marked(word: Word) -> str:
    return MARKS[word.kind].format(word.text)
