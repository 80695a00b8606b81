"""Speech recognition: a prediction is a text, its score the word error rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mam.data.corpus import AudioStore
from mam.scoring.significance import Difference, paired_bootstrap
from mam.scoring.text import NORMALIZERS
from mam.scoring.wer import LENGTH, Counts, Rates, error_counts, errors, rates

RATE = "wer"  # the metric that is compared


@dataclass(frozen=True)
class Score:
    """Corpus rates, and the counts per utterance that they are made of (``[n, 4]``, see `mam.scoring.wer`)."""

    rates: Rates
    words: Counts


def rows(audio: AudioStore, texts: Sequence[str], by_speaker: bool) -> list[dict[str, Any]]:
    """One record an example for ``predictions.jsonl``: raw texts, duration in seconds.

    ``by_speaker`` adds the speaker as ``cluster``, the unit that the bootstrap draws.
    """
    made = []
    for example, seconds, text in zip(audio.corpus.examples, audio.seconds, texts, strict=True):
        row = {
            "id": example["id"],
            "audio": example["audio"],
            "duration": round(seconds, 6),
            "reference": example["text"],
            "prediction": text,
        }
        if by_speaker:
            row["cluster"] = example["speaker"]
        made.append(row)
    return made


def score(predictions: Sequence[dict[str, Any]], normalizer: str) -> Score:
    """Normalise both sides and count. Raises ValueError where no reference word is left."""
    normalise = NORMALIZERS[normalizer]
    references = [normalise(row["reference"]) for row in predictions]
    hypotheses = [normalise(row["prediction"]) for row in predictions]
    words = error_counts(references, hypotheses, "word")
    return Score(rates(words, error_counts(references, hypotheses, "character")), words)


def compare(merged: Score, baseline: Score, clusters: Sequence[str] | None, draws: int, seed: int) -> Difference:
    """Merged minus baseline in WER, paired by utterance, resampled by ``clusters`` where given."""
    return paired_bootstrap(
        errors(merged.words), errors(baseline.words), merged.words[:, LENGTH], clusters, draws, seed
    )
