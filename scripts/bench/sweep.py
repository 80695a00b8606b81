"""A sweep of 11 λ on HuBERT-base geometry, 40 clips of 2 to 12 s: mam, and the loop that a user would write.

    python scripts/bench/sweep.py

The loop: for each λ load both models, merge the state dict, run transformers' pipeline at its best batch size, compute
WER. It is timed on three λ, whose median is scaled to 11; it costs the same whichever layers are merged. The floor is
what no sweep can go below: everything before the first merged
layer once, and 11 times the rest, with the padding of mam's packs taken off. Imports are not counted on either side.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import torch
import transformers
from common import make_pair, merged_by_hand, pair_words, peak_alone, peak_memory, timed, write_clips
from transformers import AutoProcessor, pipeline

from mam.config.compose import jobs
from mam.evaluation.predict import packs_of
from mam.evaluation.workbench import Workbench
from mam.libraries import quiet_libraries
from mam.studies.execute import execute, study_folder

LAMS = (0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1)
LAYERS = 12


def clip_lengths() -> list[float]:
    """40 lengths between 2 and 12 s."""
    return np.random.default_rng(1).uniform(2, 12, 40).round(2).tolist()


def words_of(folder: Path, *more: str) -> list[str]:
    """A sweep without controls, on all clips, with a cache of its own and nothing to find finished."""
    fresh = tempfile.mkdtemp(dir=folder)
    data = ["data=audiofolder", f"data.root={folder / 'clips'}", "data.split=all", "control=none"]
    return [*pair_words(folder), *data, f"outputs={fresh}/out", f"cache_dir={fresh}/cache", *more]


def mam_sweep(folder: Path, lams: tuple[float, ...], *more: str) -> list[object]:
    """What `mam run --multirun` does once it is imported: models, audio, baseline, every λ, scores, run folders."""
    plan = jobs([*words_of(folder, *more), f"lam={','.join(map(str, lams))}"], multirun=len(lams) > 1).jobs
    ended = execute(plan, Workbench(), study_folder(plan, "multirun"))
    assert all(end.error is None for end in ended)
    return ended


def rival_once(folder: Path, lam: float, batch: int, dtype: torch.dtype = torch.float32) -> float:
    """One λ of the loop that a user writes."""
    target = merged_by_hand(folder, lam)
    processor = AutoProcessor.from_pretrained(folder / "hubert")
    recognise = pipeline(
        "automatic-speech-recognition",
        model=target.to(dtype).eval(),
        feature_extractor=processor.feature_extractor,
        tokenizer=processor.tokenizer,
        device="cpu",
        dtype=dtype,
    )
    table = [line.split(",") for line in (folder / "clips" / "metadata.csv").read_text().splitlines()[1:]]
    waves = [soundfile.read(folder / "clips" / name, dtype="float32")[0] for name, _ in table]
    with torch.inference_mode():
        texts = [one["text"] for one in recognise(waves, batch_size=batch)]
    return jiwer.wer([text for _, text in table], texts)


def floors(folder: Path, firsts: tuple[int, ...]) -> dict[int, tuple[float, float]]:
    """For each first merged layer, seconds of everything before it, and of the rest at perfect packing.

    Medians of three passes, in each of which every stretch of layers is timed.
    """
    job = jobs([*words_of(folder), "lam=0.1"]).jobs[0]
    bench = Workbench()
    target, audio = bench.pair(job.config).target, bench.audio(job.config)
    packs = packs_of(target, audio.samples, job.config.evaluate.batch_seconds)
    padded = sum(max(audio.samples[i] for i in pack) * len(pack) for pack in packs)
    share = sum(audio.samples) / padded
    ends, passes = [*firsts, LAYERS], []
    with torch.inference_mode():
        for _ in range(3):
            spent = [0.0] * (len(ends) + 1)  # the front-end, each stretch; the last with decoding
            for pack in packs:
                start = time.perf_counter()
                hidden = target.front(audio.waves(pack))
                spent[0] += time.perf_counter() - start
                for place, (begin, end) in enumerate(itertools.pairwise([0, *ends]), 1):
                    start = time.perf_counter()
                    hidden = target.advance(hidden, begin, end)
                    if end == LAYERS:
                        target.transcribe(hidden)
                    spent[place] += time.perf_counter() - start
            passes.append(spent)
    median = [statistics.median(column) for column in zip(*passes, strict=True)]
    found = {}
    for place, first in enumerate(firsts, 1):
        found[first] = sum(median[: place + 1]), share * sum(median[place + 1 :])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", choices=("mam", "loop"))
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    quiet_libraries()
    transformers.utils.logging.set_verbosity_error()
    if arguments.peak == "mam":
        mam_sweep(arguments.folder, (0.1,))
    elif arguments.peak == "loop":
        rival_once(arguments.folder, 0.1, 1)
    if arguments.peak:
        print(peak_memory())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pair(folder)
        write_clips(folder / "clips", clip_lengths())
        measure(folder)


def measure(folder: Path) -> None:
    """Everything, one line a result."""
    timed(lambda: mam_sweep(folder, (0.0,)))  # warms up
    rivals = {batch: [timed(lambda batch=batch: rival_once(folder, 0.05, batch))] for batch in (1, 4)}
    best = min(rivals, key=rivals.get)
    mine = []
    for _ in range(2):
        rivals[best].append(timed(lambda: rival_once(folder, 0.1, best)))
        mine.append(timed(lambda: mam_sweep(folder, (0.0,))))
    mine.append(timed(lambda: mam_sweep(folder, (0.0,))))
    loop, once = statistics.median(rivals[best]), statistics.median(mine)
    seconds = f"{sum(clip_lengths()):.0f} s"
    print(f"HuBERT-base <- BERT-base, 40 clips, {seconds}, {torch.get_num_threads()} threads, fp32")
    print(f"one evaluation: mam {once:.1f} s; the loop's {loop:.1f} s (batch {best}, the best of {list(rivals)})")
    print(f"  loop/mam {loop / once:.2f} (aim 1.05)")
    found = floors(folder, (0, LAYERS - 3))
    for first, name, aim in ((0, "all layers", 1.55), (LAYERS - 3, "top 3 layers", 4)):
        total = timed(lambda first=first: mam_sweep(folder, LAMS, f"layers.spec={first}-{LAYERS - 1}"))
        before, after = found[first]
        floor = before + len(LAMS) * after
        print(f"sweep of 11 λ, {name}: mam {total:.0f} s; loop {11 * loop:.0f} s; floor {floor:.0f} s")
        print(f"  mam/floor {total / floor:.3f} (aim 1.10); loop/mam {11 * loop / total:.2f} (aim {aim:g})")
    total = timed(lambda: mam_sweep(folder, LAMS, "dtype=bfloat16"))
    loop = timed(lambda: rival_once(folder, 0.1, best, torch.bfloat16))
    print(f"sweep of 11 λ, all layers, bfloat16: mam {total:.0f} s; loop {11 * loop:.0f} s (one λ timed)")
    print(f"  loop/mam {11 * loop / total:.2f}")
    words = ("--folder", str(folder), "--peak")
    peaks = {side: peak_alone(__file__, *words, side) for side in ("mam", "loop")}
    print(f"peak memory of one λ (mam: and its baseline): mam {peaks['mam']:.0f} MB, loop {peaks['loop']:.0f} MB")


if __name__ == "__main__":
    main()
