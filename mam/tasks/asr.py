"""Speech recognition: a prediction is a text, its score the word (or character) error rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mam.config.schema import Config
from mam.data.store import AudioStore
from mam.errors import DataError
from mam.models.readout import Readout
from mam.records.parts import Delta, SpeechBaseline, SpeechMetric
from mam.records.reading import PredictionRow
from mam.scoring.coverage import corpus_notes
from mam.scoring.text import normalizer_for
from mam.scoring.wer import LENGTH, UNITS, Counts, Rates, Token, errors, pair_counts, rates, tokens
from mam.tasks.task import ErrorCounts, Judgement, Scores, paired, units_of, with_columns

REPEATED, RUNAWAY = 4, 3  # minimum words (or letters); multiple of the reference's words
COLLAPSED = 0.9  # share of identical predictions


def metric(config: Config) -> SpeechMetric:
    """Return the metric to compare: ``cer`` if the configuration is resolved to it, else ``wer``."""
    return "cer" if config.data.metric == "cer" else "wer"


def readout(config: Config) -> Readout:
    """Return ``text``: targets transcribe."""
    return "text"


def check(config: Config, audio: AudioStore, labels: list[str] | None) -> None:
    """Accept every corpus with transcripts; `open_corpus` has checked that all examples have one."""


def judge(
    config: Config, audio: AudioStore, merged: Sequence[str], baseline: Sequence[str], labels: list[str] | None
) -> Judgement:
    """Build the rows of raw texts and durations in seconds, with the cluster if clusters are the units."""
    rows = lines(config, audio, baseline)
    # The two sides share all values but one, which matters for 100,000 recordings.
    return Judgement([row | {"prediction": text} for row, text in zip(rows, merged, strict=True)], rows)


def counted(config: Config, rows: Sequence[PredictionRow]) -> ErrorCounts:
    """Count the errors of every utterance, in words or in characters.

    Raises:
        DataError: No reference has a word left after normalisation.
    """
    (counts,) = _counts(config, [rows], (_token(config),))
    return _counted(config, rows, counts)


def score(config: Config, merged: Sequence[Sequence[PredictionRow]], baseline: Sequence[PredictionRow]) -> Scores:
    """Normalise and count both sides, and compare WER or CER, paired by utterance; raises the errors of `counted`."""
    *new, old = _counts(config, [*merged, baseline], UNITS)
    before = _counted(config, baseline, old)
    after = [_counted(config, rows, counts) for rows, counts in zip(merged, new, strict=True)]
    pooled = [row for rows in merged for row in rows]
    notes = corpus_notes(config.data.normalizer, config.data.language, [row["reference"] for row in baseline])
    findings = [*_findings(pooled, before.lengths, _token(config)), *notes]
    difference = paired(config, after, [before])
    baseline_rates = SpeechBaseline(**asdict(_rates([old])))
    return Scores(_rates(new), baseline_rates, Delta(**asdict(difference)), findings, after, before)


def tables(merged: Sequence[PredictionRow], baseline: Sequence[PredictionRow]) -> dict[str, list[list[Any]]]:
    """Return no tables: the predictions contain everything."""
    return {}


def lines(config: Config, audio: AudioStore, items: Sequence[str], classes: Sequence[str] = ()) -> list[PredictionRow]:
    """Build a row for every clip of ``audio``; ``items`` are the texts."""
    rows = []
    for example, seconds, text in zip(audio.corpus.examples, audio.seconds, items, strict=True):
        row: PredictionRow = {
            "id": example["id"],
            "audio": example["audio"],
            "duration": round(seconds, 6),
            "reference": example["text"],
            "prediction": text,
        }
        rows.append(with_columns(config, row, example))
    return rows


def _token(config: Config) -> Token:
    """Return the unit in which errors are counted."""
    return "character" if metric(config) == "cer" else "word"


def _counts(
    config: Config, sides: Sequence[Sequence[PredictionRow]], units: Sequence[Token]
) -> list[dict[Token, Counts]]:
    """Count the errors of each side by unit; pairs that the sides share are processed once (see `pair_counts`).

    Raises:
        DataError: No reference of a side has a word left.
    """
    pairs = [(row["reference"], row["prediction"]) for rows in sides for row in rows]
    counts_by_unit = pair_counts(pairs, normalizer_for(config.data.normalizer, config.data.language), units)
    by_side, start = [], 0
    for rows in sides:
        by_side.append({unit: counts[start : start + len(rows)] for unit, counts in counts_by_unit.items()})
        start += len(rows)
    if not all(counts[:, LENGTH].any() for side in by_side for counts in side.values()):
        raise DataError(
            f"data.normalizer={config.data.normalizer}: no reference has any words left, so there is no error rate."
            " Choose another normalizer."
        )
    return by_side


def _counted(config: Config, rows: Sequence[PredictionRow], counts: Mapping[Token, Counts]) -> ErrorCounts:
    leading = counts[_token(config)]
    return ErrorCounts(errors(leading), leading[:, LENGTH], *units_of(config, rows, "utterance"))


def _rates(draws: Sequence[Mapping[Token, Counts]]) -> Rates:
    """Pool the rates of all draws."""
    words, characters = (np.concatenate([counts[unit] for counts in draws]) for unit in UNITS)
    return rates(words, characters)


def _findings(predictions: Sequence[PredictionRow], lengths: NDArray[np.int64], token: Token = "word") -> list[str]:
    findings = []
    empty = sum(not row["prediction"].strip() for row in predictions)
    if empty == len(predictions):
        findings.append("collapsed: every prediction is empty")
    elif empty:
        findings.append(f"empty predictions: {empty} of {len(predictions)}")
    texts = Counter(row["prediction"] for row in predictions)
    text, times = texts.most_common(1)[0]
    if text.strip() and times > COLLAPSED * len(predictions) and len({row["reference"] for row in predictions}) > 1:
        findings.append(f"collapsed: {times} of {len(predictions)} predictions are {text[:40]!r}")
    word_lists = [tokens(row["prediction"], token) for row in predictions]
    least = 3 if token == "word" else REPEATED
    repeated = sum(_repeats(utterance, least) for utterance in word_lists)
    if repeated:
        findings.append(f"predictions that only repeat the same words or letter: {repeated} of {len(predictions)}")
    runaway = sum(
        len(words) > RUNAWAY * max(1, len(tokens(row["reference"], token)))
        for words, row in zip(word_lists, predictions, strict=True)
    )
    if runaway:
        findings.append(
            f"predictions more than {RUNAWAY} times as long as their reference: {runaway} of {len(predictions)}"
        )
    unspoken = int(np.count_nonzero(lengths == 0))
    if unspoken:
        findings.append(
            f"references without words after normalisation: {unspoken} (words predicted there count as insertions)"
        )
    return findings


def _repeats(words: Sequence[str], least: int) -> bool:
    """Return whether a text is one letter, or the same few words (or characters), repeated ``least`` times or more."""
    letters = "".join(words)
    if len(letters) >= REPEATED and len(set(letters)) == 1:
        return True
    periods = range(1, len(words) // least + 1) if len(words) >= REPEATED else ()
    return any(all(word == words[i % period] for i, word in enumerate(words)) for period in periods)
