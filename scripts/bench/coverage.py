"""Coverage of the 95 % interval and size of the 5 % test, simulated for mam's method and for the percentile bootstrap.

    python scripts/bench/coverage.py [--sets 2000] [--write docs/statistics.md]

Each row simulates data sets of one kind: a share of the utterances changes, and a share of the changes is for the
better. Where both directions are equally likely there is no effect, and the share of rejections is the size of the
test; otherwise it is its power. Data sets in which nothing changed have no interval and are counted apart.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mam.scoring.significance import Difference, paired_difference

DRAWS = 1000
SIZES = (1, 2, 3)  # errors by which an utterance changes, in falling frequency
SHARES = (0.75, 0.19, 0.06)
BETTER = 0.04  # how much the share of changes for the better varies from speaker to speaker (standard deviation)


@dataclass(frozen=True)
class Row:
    """One kind of data set. ``speakers`` 0: utterances are the units; ``runaway``: share with 60 insertions at once;
    ``draws``: the merged model is random, and its rate varies between draws by ``spread`` (errors an utterance);
    ``sparse``: both models and all draws make an error of their own in such a share of the utterances; ``lopsided``:
    changes for the better take one error, those for the worse add so many."""

    name: str
    utterances: int
    changed: float
    better: float = 0.5
    speakers: int = 0
    runaway: float = 0.0
    draws: int = 1
    spread: float = 0.0
    sparse: float = 0.0
    lopsided: int = 0


ROWS = (
    Row("16 utterances", 16, 0.06),
    Row("16 utterances", 16, 0.06, 0.75),
    Row("16 utterances", 16, 0.30),
    Row("16 utterances", 16, 0.30, 0.75),
    Row("30 utterances", 30, 0.20, 0.70),
    Row("90 utterances", 90, 0.06),
    Row("90 utterances", 90, 0.06, 0.80),
    Row("90 utterances", 90, 0.06, 0.95),
    Row("90 utterances", 90, 0.15, 0.75),
    Row("90 utterances", 90, 0.30),
    Row("90 utterances", 90, 0.30, 0.70),
    Row("250 utterances", 250, 0.02, 0.70),
    Row("250 utterances", 250, 0.02, 0.95),
    Row("250 utterances", 250, 0.30, 0.60),
    Row("2 speakers", 60, 0.30, speakers=2),
    Row("3 speakers", 90, 0.30, speakers=3),
    Row("5 speakers", 150, 0.30, speakers=5),
    Row("5 speakers", 150, 0.30, 0.60, speakers=5),
    Row("6 speakers", 180, 0.30, speakers=6),
    Row("10 speakers", 300, 0.30, speakers=10),
    Row("11 speakers", 330, 0.30, 0.60, speakers=11),
    Row("20 speakers", 600, 0.30, 0.60, speakers=20),
    Row("90 utterances, 5 draws", 90, 0.30, draws=5, spread=0.02),
    Row("90 utterances, 5 draws", 90, 0.30, draws=5, spread=0.10),
    Row("90 utterances, 5 draws", 90, 0.30, draws=5, spread=0.40),
    Row("90 utterances, 5 sparse draws", 90, 0.0, draws=5, sparse=0.02),
    Row("90 utterances, lopsided", 90, 0.15, 0.75, lopsided=3),
    Row("90 utterances, runaways", 90, 0.30, 0.50, runaway=0.004),
)


def simulated(row: Row, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Errors ``[draws, n]`` merged, ``[n]`` baseline, words ``[n]`` and speakers ``[n]`` of one data set."""
    n, speakers = row.utterances, max(1, row.speakers)
    words = rng.integers(5, 30, n)
    speaker = np.repeat(np.arange(speakers), n // speakers)
    better = row.better + (rng.normal(0, BETTER, speakers) if row.speakers else np.zeros(1))[speaker]
    baseline = rng.binomial(words, 0.2) + max(SIZES)
    shift = rng.normal(0, row.spread, row.draws)[:, None] if row.spread else np.zeros((row.draws, 1))
    if row.sparse:
        own = (rng.random((row.draws + 1, n)) < row.sparse).astype(np.int64)
        return baseline + own[1:], baseline + own[0], words, speaker
    is_changed = rng.random(n) < row.changed
    sign = np.where(rng.random(n) < better, -1, 1)
    size = rng.choice(SIZES, p=SHARES, size=n)
    if row.lopsided:
        size = np.where(sign < 0, 1, row.lopsided)
    merged = np.tile(baseline + is_changed * sign * size, (row.draws, 1))
    # A draw adds or takes whole errors, so many on average as its shift says.
    merged += (np.sign(shift) * (rng.random((row.draws, n)) < np.abs(shift))).astype(np.int64)
    merged += 60 * (rng.random((row.draws, n)) < row.runaway)
    return merged, baseline, words, speaker


def truth(row: Row) -> float:
    """True difference of the rates: the mean change of an utterance over its mean number of words."""
    if row.sparse or row.lopsided:  # as many errors lost as won, on average
        return 0.0
    mean_size = float(np.dot(SIZES, SHARES))
    return (row.changed * mean_size * (1 - 2 * row.better) + 60 * row.runaway) / 17.0


def measure(row: Row, sets: int) -> list[str]:
    """One row of the table."""
    rng, true = np.random.default_rng(20), truth(row)
    tallies = {name: np.zeros(3) for name in ("sign_flip", "bootstrap")}  # covered, rejected, intervals
    unchanged = 0
    for seed in range(sets):
        merged, baseline, words, speaker = simulated(row, rng)
        clusters = speaker.tolist() if row.speakers else None
        made = {
            name: paired_difference(merged, baseline, words, clusters, DRAWS, seed, interval=name) for name in tallies
        }
        if not made["sign_flip"].changed:
            unchanged += 1
            continue
        for name, difference in made.items():
            if difference.ci95 is not None:
                low, high = difference.ci95
                tallies[name] += low <= true <= high, _rejects(name, difference), 1
    cells = [f"{100 * value / tally[2]:.1f}" for tally in tallies.values() for value in tally[:2]]
    effect = "none" if true == 0 else f"{100 * true:+.2f}".replace("-", "−")
    return [row.name, f"{100 * row.changed:.0f} %", effect, f"{100 * unchanged / sets:.0f} %", *cells]


def _rejects(name: str, difference: Difference) -> bool:
    """By its p, or, as the bootstrap is read, by an interval without 0."""
    if name == "sign_flip":
        return difference.is_significant
    assert difference.ci95 is not None
    return difference.ci95[0] > 0 or difference.ci95[1] < 0


def table(rows: list[list[str]]) -> str:
    """Markdown."""
    heads = ["data", "changed", "true difference, points", "nothing changed"]
    heads += ["coverage", "rejected", "bootstrap: coverage", "bootstrap: rejected"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", type=int, default=2000, help="data sets a row")
    parser.add_argument("--write", type=Path, help="page whose table between the coverage marks is replaced")
    options = parser.parse_args()
    start = time.perf_counter()
    job: Callable[[Row], list[str]] = _Measure(options.sets)
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(job, ROWS))
    made = table(rows)
    print(made)
    print(f"\n{options.sets} data sets a row, {DRAWS} draws, {time.perf_counter() - start:.0f} s")
    if options.write:
        marks = r"(<!-- coverage -->\n).*?(<!-- end -->)"
        text = options.write.read_text(encoding="utf-8")
        text = re.sub(marks, lambda found: f"{found[1]}{made}\n{found[2]}", text, flags=re.DOTALL)
        options.write.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class _Measure:
    """`measure` with the number of data sets, for another process."""

    sets: int

    def __call__(self, row: Row) -> list[str]:
        return measure(row, self.sets)


if __name__ == "__main__":
    main()
