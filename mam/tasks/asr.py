"""Speech recognition: a prediction is a text, its score the word error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mam.config import Config
from mam.data.store import AudioStore
from mam.errors import DataError
from mam.models.targets import Readout
from mam.scoring.significance import paired_bootstrap
from mam.scoring.text import NORMALIZERS
from mam.scoring.wer import LENGTH, Counts, Rates, error_counts, errors, rates
from mam.tasks.task import Judged, Row, Scores

METRIC = "wer"
REQUIRED: tuple[str, ...] = ("id", "reference", "prediction")


def readout(config: Config) -> Readout:
    """Transcripts."""
    return "text"


def check(config: Config, audio: AudioStore, labels: list[str] | None) -> None:
    """Any corpus with transcripts serves, and all of one have them."""


def judge(
    config: Config, audio: AudioStore, merged: Sequence[str], baseline: Sequence[str], labels: list[str] | None
) -> Judged:
    """Raw texts and durations in seconds; the cluster that the bootstrap draws, where it draws clusters."""
    return Judged(_rows(config, audio, merged), _rows(config, audio, baseline))


def score(config: Config, merged: Sequence[Row], baseline: Sequence[Row]) -> Scores:
    """Normalise both sides, count, and compare WER, paired by utterance.

    Raises:
        DataError: no reference has a word left after normalisation.
    """
    try:
        (new, new_words), (old, old_words) = (_counted(rows, config.data.normalizer) for rows in (merged, baseline))
    except ValueError as error:
        raise DataError(f"data.normalizer={config.data.normalizer}: {error}. Choose another.") from error
    clusters = None if config.data.clusters == "utterance" else [row["cluster"] for row in merged]
    difference = paired_bootstrap(
        errors(new_words),
        errors(old_words),
        new_words[:, LENGTH],
        clusters,
        config.evaluate.draws,
        config.seed,
    )
    return Scores(new.as_dict(), old.as_dict(), difference, _findings(merged, new_words))


def tables(merged: Sequence[Row], baseline: Sequence[Row]) -> dict[str, list[list[Any]]]:
    """None: the predictions say it all."""
    return {}


def _rows(config: Config, audio: AudioStore, texts: Sequence[str]) -> list[Row]:
    made = []
    for example, seconds, text in zip(audio.corpus.examples, audio.seconds, texts, strict=True):
        row = {
            "id": example["id"],
            "audio": example["audio"],
            "duration": round(seconds, 6),
            "reference": example["text"],
            "prediction": text,
        }
        if config.data.clusters != "utterance":
            row["cluster"] = example[config.data.clusters]
        made.append(row)
    return made


def _counted(predictions: Sequence[Row], normalizer: str) -> tuple[Rates, Counts]:
    """Corpus rates, and the counts per utterance that they are made of (``[n, 4]``, see `mam.scoring.wer`)."""
    normalise = NORMALIZERS[normalizer]
    references = [normalise(row["reference"]) for row in predictions]
    hypotheses = [normalise(row["prediction"]) for row in predictions]
    words = error_counts(references, hypotheses, "word")
    return rates(words, error_counts(references, hypotheses, "character")), words


def _findings(predictions: Sequence[Row], words: Counts) -> list[str]:
    found = []
    empty = sum(not row["prediction"].strip() for row in predictions)
    if empty == len(predictions):
        found.append("collapsed: every prediction is empty")
    elif empty:
        found.append(f"{empty} of {len(predictions)} predictions are empty")
    unspoken = int(np.count_nonzero(words[:, LENGTH] == 0))
    if unspoken:
        found.append(
            f"{unspoken} references have no word after normalisation; what was heard there counts as insertions"
        )
    return found
