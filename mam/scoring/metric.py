"""Word error rate as an ``evaluate.Metric`` without a network; ``evaluate.load("wer")`` fetches code from the hub."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate

from mam.scoring.text import NORMALIZERS
from mam.scoring.wer import pair_counts, rates


class WordErrorRate(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """WER, CER and counts: ``WordErrorRate().compute(predictions=[...], references=[...], normalizer="none")``."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Word error rate with counts, aligned by jiwer.",
            citation="",
            inputs_description="predictions and references: lists of strings; normalizer: a name known to mam",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self, predictions: Sequence[str], references: Sequence[str], normalizer: str = "none"
    ) -> dict[str, float | int]:
        counts = pair_counts(list(zip(references, predictions, strict=True)), NORMALIZERS[normalizer])
        return rates(counts["word"], counts["character"]).as_dict()
