"""Finished runs to report on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from conftest import once

ODD = [
    "<script>alert('x')</script> & \"more\"",
    "fifty % of _all_ $5 #1 {a} ~b ^c \\d",
    "שלום עולם 🎉",
    "HELLO THERE",
    "NO | NO",
]


@pytest.fixture
def odd_words(words: list[str], clips: Path) -> list[str]:
    """A tiny run whose transcripts have everything in them that means something in HTML or LaTeX."""
    names = [f"clip{i}.wav" for i in range(5)]
    with (clips / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file_name", "transcription"], *zip(names, ODD, strict=True)])
    return [*words, "evaluate.draws=200", "data.normalizer=none"]


@pytest.fixture
def swept(odd_words: list[str]) -> Path:
    """λ = 0, 0.3, 0.6, each with shrink, in `outputs`."""
    for lam, control in ((0, "none"), (0.3, "none"), (0.3, "shrink"), (0.6, "none"), (0.6, "shrink")):
        once([*odd_words, f"lam={lam}", f"control={control}"])
    return Path("outputs")
