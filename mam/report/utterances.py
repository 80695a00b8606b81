"""References and hypotheses word by word, for the worst and the most changed utterances of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer

from mam.config.schema import Config
from mam.records.reading import read_predictions
from mam.scoring.text import normalizer_for
from mam.scoring.wer import LENGTH, Token, error_counts, errors, tokens
from mam.tasks import TASKS


@dataclass(frozen=True)
class Word:
    """A piece of an alignment: ``kind`` is equal, substitute, insert or delete."""

    kind: str
    text: str


@dataclass(frozen=True)
class Utterance:
    """A reference, both hypotheses aligned with it by words or characters, and their errors.

    ``audio`` is the recording's name below the folder of the data.
    """

    id: str
    audio: str
    reference: str
    merged: list[Word]
    baseline: list[Word]
    errors: int
    errors_before: int
    words: int  # length of the reference, in characters if those are counted
    token: Token = "word"

    @property
    def change(self) -> int:
        """Number of errors more than in the baseline."""
        return self.errors - self.errors_before


def aligned(reference: str, hypothesis: str, token: Token = "word") -> list[Word]:
    """Align the hypothesis with the reference, both normalised, and return the pieces."""
    between = " " if token == "word" else ""
    reference_text, hypothesis_text = (between.join(tokens(text, token)) for text in (reference, hypothesis))
    if not reference_text:
        return [Word("insert", hypothesis_text)] if hypothesis_text else []
    alignment = (jiwer.process_words if token == "word" else jiwer.process_characters)(reference_text, hypothesis_text)
    pieces = []
    for chunk in alignment.alignments[0]:
        reference_piece = between.join(alignment.references[0][chunk.ref_start_idx : chunk.ref_end_idx])
        hypothesis_piece = between.join(alignment.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx])
        pieces.append(Word(chunk.type, reference_piece if chunk.type == "delete" else hypothesis_piece))
    return pieces


def utterances(config: Config, folder: Path) -> list[Utterance]:
    """Return every utterance of a run of speech recognition; for a random control, of its first draw.

    Raises:
        RecordError: its predictions are missing or broken.
    """
    draws, baseline = read_predictions(folder)
    normalise = normalizer_for(config.data.normalizer, config.data.language)
    truth = [normalise(row["reference"]) for row in baseline]
    new, old = ([normalise(row["prediction"]) for row in rows] for rows in (draws[0], baseline))
    token: Token = "character" if TASKS["asr"].metric(config) == "cer" else "word"
    counts = [error_counts(truth, side, token) for side in (new, old)]
    return [
        Utterance(
            str(row["id"]),
            str(row["audio"]),
            reference,
            aligned(reference, merged, token),
            aligned(reference, before, token),
            int(a),
            int(b),
            int(words),
            token,
        )
        for row, reference, merged, before, a, b, words in zip(
            baseline, truth, new, old, errors(counts[0]), errors(counts[1]), counts[0][:, LENGTH], strict=True
        )
    ]


def changed(found: Sequence[Utterance]) -> list[Utterance]:
    """Return the utterances with other words than in the baseline, the largest change of errors first."""
    differing = [utterance for utterance in found if utterance.merged != utterance.baseline]
    return sorted(differing, key=lambda utterance: (-abs(utterance.change), utterance.id))


def worst(found: Sequence[Utterance]) -> list[Utterance]:
    """Return the utterances with errors, most errors first."""
    return sorted(
        (utterance for utterance in found if utterance.errors), key=lambda utterance: (-utterance.errors, utterance.id)
    )
