"""One λ of Whisper-tiny.en on short real recordings: mam, and the loop that a user would write.

    python scripts/bench/whisper.py REAL RECORDINGS

REAL holds models/whisper-tiny.en and models/all-MiniLM-L6-v2, RECORDINGS is an audiofolder, of which the first 79 are
taken. The loop is transformers' pipeline on the merged model, once greedy as mam decodes, at its best batch size, and
once as it comes, with the 5 beams that it has by default. Imports are not counted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
from pathlib import Path

import soundfile
import soxr
import torch
import transformers
from common import timed
from transformers import AutoModel, AutoProcessor, WhisperForConditionalGeneration, pipeline

from mam.config.compose import jobs
from mam.evaluation.workbench import Workbench
from mam.libraries import quiet_libraries
from mam.runs.run import run

LAM, CLIPS = 0.05, 79


def by_hand(real: Path, recordings: Path, batch: int, beams: int) -> dict[str, str]:
    """One λ of the loop: both models loaded, Q, K and V merged, everything transcribed."""
    place = real / "models" / "whisper-tiny.en"
    target = WhisperForConditionalGeneration.from_pretrained(place, dtype=torch.float32)
    source = AutoModel.from_pretrained(real / "models" / "all-MiniLM-L6-v2", dtype=torch.float32)
    with torch.no_grad():
        for ours, theirs in zip(target.model.encoder.layers, source.encoder.layer, strict=False):
            for name, other in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
                mine, its = getattr(ours.self_attn, name), getattr(theirs.attention.self, other)
                mine.weight.lerp_(its.weight, LAM)
                if mine.bias is not None:
                    mine.bias.lerp_(its.bias, LAM)
    processor = AutoProcessor.from_pretrained(place)
    recognise = pipeline(
        "automatic-speech-recognition",
        model=target.eval(),
        feature_extractor=processor.feature_extractor,
        tokenizer=processor.tokenizer,
        device="cpu",
        dtype=torch.float32,
    )
    with (recordings / "metadata.csv").open(encoding="utf-8", newline="") as file:
        names = [row["file_name"] for row in csv.DictReader(file)][:CLIPS]
    waves = []
    for name in names:
        wave, rate = soundfile.read(recordings / name, dtype="float32")
        waves.append(soxr.resample(wave, rate, 16_000))
    with torch.inference_mode():
        texts = [
            one["text"].strip() for one in recognise(waves, batch_size=batch, generate_kwargs={"num_beams": beams})
        ]
    return dict(zip(names, texts, strict=True))


def by_mam(real: Path, recordings: Path) -> dict[str, str]:
    """What `mam run` does once it is imported; its baseline is in the cache, as after the first λ of a sweep."""
    words = [
        "model=whisper_minilm",
        "pairing=index",
        f"lam={LAM}",
        "control=none",
        "data=audiofolder",
        "data.split=all",
    ]
    models = [f"model.target={real}/models/whisper-tiny.en", f"model.source={real}/models/all-MiniLM-L6-v2"]
    folders = [
        f"data.root={recordings}",
        f"data.limit={CLIPS}",
        f"outputs={tempfile.mkdtemp(dir=os.environ['MAM_CACHE'])}",
    ]
    (job,) = jobs([*words, *models, *folders]).jobs
    folder = run(job, Workbench()).folder
    rows = map(json.loads, (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["prediction"] for row in rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("recordings", type=Path)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    quiet_libraries()
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MAM_CACHE"] = cache
        measure(arguments.real, arguments.recordings)


def measure(real: Path, recordings: Path) -> None:
    """Everything, one line a result."""
    texts: dict[str, dict[str, str]] = {}

    def loop(batch: int, beams: int) -> float:
        def work() -> None:
            texts["loop"] = by_hand(real, recordings, batch, beams)

        return timed(work)

    def mam() -> float:
        def work() -> None:
            texts["mam"] = by_mam(real, recordings)

        return timed(work)

    mam()  # the baseline, and what is only loaded once
    beams, eight = loop(1, 5), loop(8, 1)
    mine, hand = zip(*((mam(), loop(1, 1)) for _ in range(3)), strict=True)
    ours, greedy = statistics.median(mine), statistics.median(hand)
    equal = sum(texts["mam"][Path(name).stem] == text for name, text in texts["loop"].items())
    print(f"Whisper-tiny.en <- MiniLM-L6, λ={LAM}, {CLIPS} short recordings, {torch.get_num_threads()} threads, fp32")
    print(f"mam {ours:.1f} s; the loop, greedy {min(greedy, eight):.1f} s (batch 1: {greedy:.1f}, 8: {eight:.1f} s)")
    print(f"  loop/mam {min(greedy, eight) / ours:.2f}; equal hypotheses: {equal} of {CLIPS}")
    print(f"the loop as it comes, 5 beams, batch 1: {beams:.1f} s; loop/mam {beams / ours:.2f} (aim 3)")


if __name__ == "__main__":
    main()
