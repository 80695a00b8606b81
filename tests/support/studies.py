"""Studies of made-up predictions, whose numbers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.files import write_jsonl
from mam.records.reading import BASELINE, of_draw
from mam.small_files import read_jsonl

SAID = ["RED", "BLUE", "GREEN", "GREY"]


def say(folder: Path, *draws: Sequence[int], baseline: Sequence[int] | None = None) -> None:
    """Put made-up predictions in the place of those of a finished run, of each draw and of its baseline.

    Utterance ``i`` is of four words, of which a draw gets ``draw[i]`` wrong; the baseline gets none wrong unless said.
    """
    sides = {of_draw(number): draw for number, draw in enumerate(draws)} | {BASELINE: baseline or [0] * len(draws[0])}
    for name, errors in sides.items():
        rows = read_jsonl(folder / name)
        for row, wrong in zip(rows, errors, strict=True):
            row |= {"reference": " ".join(SAID), "prediction": " ".join(["X"] * wrong + SAID[wrong:])}
        write_jsonl(folder / name, rows)
