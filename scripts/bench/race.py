"""Racing over 11 λ against the full grid, on resampled errors of real runs of the demo pair.

    python scripts/bench/race.py [FOLDER]   # FOLDER: models/whisper-tiny.en, models/all-MiniLM-L6-v2, LJSpeech-1.1

Errors by utterance of every λ are computed once, on all clips of a data set; each of 200 repeats draws a dev set from
them with replacement, as large as LJ Speech's (250) and about as LibriSpeech's (2,700), races on it, and compares with
the grid's choice on the same set. "Not separable": the paired t test on that set does not tell the two choices apart at
5 %. The probability of dropping the best is checked under the null: every λ has the same errors, in a random order of
its own for each utterance.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from mam.config.compose import jobs
from mam.evaluation.language import settled
from mam.evaluation.workbench import Workbench
from mam.merging.plan import plan_merge
from mam.scoring.text import normalizer_for
from mam.scoring.wer import LENGTH, error_counts, errors
from mam.tuning.race import race

LAMS = (0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1)
REPEATS, DEVS = 200, (250, 1000, 2700)


def measured(words: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Errors of every λ and utterance ``[λ, n]``, and words ``[n]``."""
    bench, rows = Workbench(), []
    for lam in LAMS:
        config = jobs([*words, f"lam={lam}", "data.split=all"]).jobs[0].config
        pair, audio = bench.pair(config), bench.audio(config)
        config = settled(config, bench).config
        plan = plan_merge(config, *pair.shapes, config.seed)
        pair.merger.apply(plan)
        normalise = normalizer_for(config.data.normalizer, config.data.language)
        truth = [normalise(text) for text in audio.corpus.column("text")]
        said = [normalise(text) for text in bench.predict(config, plan.first, "").items]
        counts = error_counts(truth, said, "word")
        rows.append(errors(counts))
    return np.stack(rows), counts[:, LENGTH]


def repeat(table: NDArray[np.int64], lengths: NDArray[np.int64], dev: int, seed: int) -> tuple[float, bool, bool]:
    """Share of the grid's work; whether the choice is the grid's; whether it is that or not separable from it."""
    drawn = np.random.default_rng(seed).integers(0, len(lengths), dev)
    errors_of, words = table[:, drawn], lengths[drawn]
    rates = errors_of.sum(1) / words.sum()
    grid = int(np.argmin(rates))

    def seen(lam: float, positions: list[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        return errors_of[LAMS.index(lam)][positions].astype(float), words[positions]

    ran = race(seen, LAMS, dev, seed=seed, weights=words)
    mine = LAMS.index(ran.chosen)
    apart = errors_of[mine] - errors_of[grid]
    same = mine == grid or not apart.any() or bool(ttest_1samp(apart, 0).pvalue > 0.05)
    return ran.work, mine == grid, same


def report(name: str, words: list[str]) -> None:
    """Race on resampled errors of one pair and data set."""
    table, lengths = measured(words)
    print(f"racing, {name}: errors of {len(lengths)} utterances, {REPEATS} repeats")
    for dev in DEVS:
        found = [repeat(table, lengths, dev, seed) for seed in range(REPEATS)]
        work, hits, same = (np.array(column) for column in zip(*found, strict=True))
        print(
            f"  dev of {dev}: grid/race work {1 / work.mean():.2f} (aim 2); the grid's choice in"
            f" {100 * hits.mean():.0f} %, it or one not separable from it in {100 * same.mean():.0f} % (aim 95 %)"
        )
    rng, dropped, dev = np.random.default_rng(1), 0, DEVS[0]
    for seed in range(REPEATS):
        drawn = rng.integers(0, len(lengths), dev)
        null = rng.permuted(table[:6][:, drawn], axis=0)  # the λ that are alike, in a random order for each utterance

        def seen(lam: float, positions: list[int], null: NDArray[np.int64] = null) -> tuple:
            return null[int(lam * 10)][positions].astype(float), np.ones(len(positions), np.int64)

        ran = race(seen, [i / 10 for i in range(6)], dev, seed=seed)
        dropped += any("0.3" in look.dropped for look in ran.path)
    print(f"  under the null a given λ is dropped in {100 * dropped / REPEATS:.1f} % of {REPEATS} races (bound 5 %)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args().folder
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MAM_CACHE"] = cache
        report("demo_hubert_bert on demo_speech", [])
        report("demo_hubert_bert on demo_speech_shift", ["data=demo_speech_shift"])
        if folder:
            real = [f"model.target={folder}/models/whisper-tiny.en", f"model.source={folder}/models/all-MiniLM-L6-v2"]
            report(
                "whisper_minilm on LJ Speech",
                ["model=whisper_minilm", *real, "data=ljspeech", f"data.root={folder}/LJSpeech-1.1"],
            )


if __name__ == "__main__":
    main()
