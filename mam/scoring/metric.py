"""Word error rate as an ``evaluate.Metric`` that works offline; ``evaluate.load("wer")`` downloads code from the hub.

``WordErrorRate("multilingual")`` and ``evaluate.load(mam.scoring.metric.__file__, "multilingual")`` are equivalent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import datasets
import evaluate

from mam.errors import ConfigError, choices
from mam.scoring.text import NORMALIZERS, normalizer_for
from mam.scoring.wer import pair_counts, rates


class WordErrorRate(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """WER and CER as fractions, with counts, of texts normalised as in mam; ``config_name`` is the normalizer.

    ``compute(predictions=[...], references=[...], language="de")`` passes the language to normalizers that use it.

    Raises:
        ConfigError: The normalizer is unknown.
        ValueError: No reference contains a word.
    """

    def _info(self) -> evaluate.MetricInfo:
        if self._normalizer not in NORMALIZERS:
            raise ConfigError(f"{self._normalizer}: is not a normalizer. Choose one of: {choices(tuple(NORMALIZERS))}")
        return evaluate.MetricInfo(
            description="Word and character error rate with counts, aligned by jiwer.",
            citation="",
            inputs_description="predictions and references: lists of strings",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    @property
    def _normalizer(self) -> str:
        return "none" if self.config_name == "default" else str(self.config_name)

    def _compute(
        self, predictions: Sequence[str], references: Sequence[str], language: str | None = None
    ) -> dict[str, float | int]:
        pairs = list(zip(references, predictions, strict=True))
        counts = pair_counts(pairs, normalizer_for(self._normalizer, language))
        return asdict(rates(counts["word"], counts["character"]))
