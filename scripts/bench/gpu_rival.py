"""The rival on a GPU: transformers' pipeline, and the loop over λ that a user writes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jiwer
import soundfile
import torch
from common import merged_by_hand, timed
from gpu_clock import DEVICE, waited
from transformers import AutoProcessor, HubertForCTC, pipeline

BATCHES = (1, 8, 32)


class Rival:
    """transformers' pipeline over the clips."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processor = folder, AutoProcessor.from_pretrained(folder / "hubert")
        rows = [line.split(",") for line in (folder / "clips" / "metadata.csv").read_text().splitlines()[1:]]
        self.texts = [text for _, text in rows]
        self.waves = [soundfile.read(folder / "clips" / name, dtype="float32")[0] for name, _ in rows]

    def recogniser(self, model: Any, dtype: str) -> Any:
        """The pipeline with this model."""
        made = getattr(torch, dtype)
        return pipeline(
            "automatic-speech-recognition",
            model=model.to(made).eval(),
            feature_extractor=self.processor.feature_extractor,
            tokenizer=self.processor.tokenizer,
            device=DEVICE,
            dtype=made,
        )

    def evaluate(self, recognise: Any, batch: int, is_sorted: bool) -> list[str]:
        """Texts of all clips, in the order of the corpus."""
        order = sorted(range(len(self.waves)), key=lambda i: -len(self.waves[i]) if is_sorted else i)
        with torch.inference_mode():
            made = [one["text"] for one in recognise([self.waves[i] for i in order], batch_size=batch)]
        return [text for _, text in sorted(zip(order, made, strict=True))]

    def seconds(self, dtype: str) -> tuple[float, int, bool]:
        """The best time of an evaluation, its batch, and whether the clips were sorted by length."""
        recognise = self.recogniser(HubertForCTC.from_pretrained(self.folder / "hubert", dtype=torch.float32), dtype)
        self.evaluate(recognise, BATCHES[-1], True)  # warms up
        ways = [(1, False), *((batch, is_sorted) for batch in BATCHES[1:] for is_sorted in (False, True))]
        found = [(timed(waited(lambda way=way: self.evaluate(recognise, *way))), *way) for way in ways]
        _, *way = min(found)
        again = timed(waited(lambda: self.evaluate(recognise, *way)))
        return (min(again, min(found)[0]), *way)

    def one_lam(self, lam: float, dtype: str, batch: int, is_sorted: bool) -> float:
        """What the loop does for one λ."""
        target = merged_by_hand(self.folder, lam)
        return jiwer.wer(self.texts, self.evaluate(self.recogniser(target, dtype), batch, is_sorted))
