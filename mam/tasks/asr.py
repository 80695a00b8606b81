"""Speech recognition: a prediction is a text, its score the word error rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mam.config import Config
from mam.data.store import AudioStore
from mam.errors import DataError
from mam.models.targets import Readout
from mam.scoring.significance import paired_bootstrap
from mam.scoring.text import normalizer_for
from mam.scoring.wer import LENGTH, Counts, error_counts, errors, rates
from mam.tasks.task import Counted, Judged, Row, Scores

METRIC = "wer"
REPEATED, RUNAWAY = 4, 3  # words (or letters) at least; times the words of the reference
COLLAPSED = 0.9  # share of the predictions that are one and the same
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
    return Judged(lines(config, audio, merged), lines(config, audio, baseline))


def counted(config: Config, rows: Sequence[Row]) -> Counted:
    """Word errors of every utterance.

    Raises:
        DataError: no reference has a word left after normalisation.
    """
    words = _word_counts(config, rows)
    clusters = None if config.data.clusters == "utterance" else [row["cluster"] for row in rows]
    return Counted(errors(words), words[:, LENGTH], clusters)


def score(config: Config, merged: Sequence[Sequence[Row]], baseline: Sequence[Row]) -> Scores:
    """Normalise both sides, count, and compare WER, paired by utterance; raises what `counted` raises."""
    new, old = [counted(config, rows) for rows in merged], counted(config, baseline)
    difference = paired_bootstrap(
        np.stack([draw.errors for draw in new]),
        old.errors,
        old.lengths,
        old.clusters,
        config.evaluate.draws,
        config.seed,
    )
    pooled = [row for rows in merged for row in rows]
    return Scores(_rates(config, pooled), _rates(config, baseline), difference, _findings(pooled, old.lengths))


def tables(merged: Sequence[Row], baseline: Sequence[Row]) -> dict[str, list[list[Any]]]:
    """None: the predictions say it all."""
    return {}


def lines(config: Config, audio: AudioStore, items: Sequence[str], classes: Sequence[str] = ()) -> list[Row]:
    """A line for every clip of ``audio``: ``items`` are the texts."""
    made = []
    for example, seconds, text in zip(audio.corpus.examples, audio.seconds, items, strict=True):
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


def _word_counts(config: Config, rows: Sequence[Row]) -> Counts:
    """Counts per utterance, ``[n, 4]``, see `mam.scoring.wer`."""
    words = error_counts(*_normalised(config, rows), "word")
    if not words[:, LENGTH].any():
        raise DataError(
            f"data.normalizer={config.data.normalizer}: no reference has a word left: a rate is not defined."
            " Choose another."
        )
    return words


def _rates(config: Config, rows: Sequence[Row]) -> dict[str, Any]:
    references, hypotheses = _normalised(config, rows)
    return rates(_word_counts(config, rows), error_counts(references, hypotheses, "character")).as_dict()


def _normalised(config: Config, rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    normalise = normalizer_for(config.data.normalizer, config.data.language)
    return [normalise(row["reference"]) for row in rows], [normalise(row["prediction"]) for row in rows]


def _findings(predictions: Sequence[Row], lengths: NDArray[np.int64]) -> list[str]:
    found = []
    empty = sum(not row["prediction"].strip() for row in predictions)
    if empty == len(predictions):
        found.append("collapsed: every prediction is empty")
    elif empty:
        found.append(f"{empty} of {len(predictions)} predictions are empty")
    texts = Counter(row["prediction"] for row in predictions)
    text, times = texts.most_common(1)[0]
    if text.strip() and times > COLLAPSED * len(predictions) and len({row["reference"] for row in predictions}) > 1:
        found.append(f"collapsed: {times} of {len(predictions)} predictions are {text[:40]!r}")
    said = [row["prediction"].split() for row in predictions]
    repeated = sum(map(_repeats, said))
    if repeated:
        found.append(f"{repeated} of {len(predictions)} predictions are the same words or letter again and again")
    runaway = sum(
        len(words) > RUNAWAY * max(1, len(row["reference"].split()))
        for words, row in zip(said, predictions, strict=True)
    )
    if runaway:
        found.append(f"{runaway} of {len(predictions)} predictions are over {RUNAWAY} times as long as their reference")
    unspoken = int(np.count_nonzero(lengths == 0))
    if unspoken:
        found.append(
            f"{unspoken} references have no word after normalisation; what was heard there counts as insertions"
        )
    return found


def _repeats(words: Sequence[str]) -> bool:
    """Whether a text is one letter, or the same few words, three times or more."""
    letters = "".join(words)
    if len(letters) >= REPEATED and len(set(letters)) == 1:
        return True
    periods = range(1, len(words) // 3 + 1) if len(words) >= REPEATED else ()
    return any(all(word == words[i % period] for i, word in enumerate(words)) for period in periods)
