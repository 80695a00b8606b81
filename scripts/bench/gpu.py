"""What a GPU makes of it: an evaluation, a sweep and a step of training on HuBERT-large <- BERT-large geometry.

    python scripts/bench/gpu.py                 # 4 minutes on an H100; prints, and writes RESULTS-gpu.md beside this
    python scripts/bench/gpu.py --minutes 5     # of audio
    python scripts/bench/gpu.py --tiny          # tries the script itself, on a CPU too; writes nothing

Random weights, noise of 2 to 20 s. The rival is transformers' pipeline at its best batch and order of the clips, all
decoded beforehand as they are for mam; it runs first, before mam makes the GPU repeatable and keeps TF32 out of
convolutions. Its loop over λ loads both models, merges the state dict, runs the pipeline and computes WER each time.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import LARGE, make_pair, median_of, pair_words, timed, write_clips
from gpu_clock import DEVICE, IS_GPU, busy, lines, peak, say, waited
from gpu_rival import Rival

from mam.config.compose import jobs
from mam.config.model import shapes
from mam.config.training import TrainConfig
from mam.evaluation.devices import make_repeatable
from mam.evaluation.predict import packs_of, predict
from mam.evaluation.prefix import Prefix
from mam.evaluation.workbench import Workbench
from mam.libraries import quiet_libraries
from mam.merging.lambdas import Lambdas
from mam.merging.learnable import learn
from mam.merging.merger import Merger
from mam.merging.plan import plan_merge
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source
from mam.studies.execute import execute, study_folder
from mam.training.learner import Learner
from mam.training.lessons import Lessons

TINY = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
DTYPES = ("float32", "bfloat16", "float16")
LAMS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
RESULTS = Path(__file__).with_name("RESULTS-gpu.md")


def clip_lengths(minutes: float) -> list[float]:
    """Lengths between 2 and 20 s, so many minutes together."""
    rng, made = np.random.default_rng(1), list[float]()
    while sum(made) < 60 * minutes:
        made.append(round(float(rng.uniform(2, 20)), 2))
    return made


def words_of(folder: Path, size: dict[str, int], *more: str) -> list[str]:
    """Runs on all clips, with a cache of their own and nothing to find finished."""
    fresh = tempfile.mkdtemp(dir=folder)
    data = ["data=audiofolder", f"data.root={folder / 'clips'}", "data.split=all", "control=none"]
    where = [f"outputs={fresh}/out", f"cache_dir={fresh}/cache", f"device={DEVICE.type}"]
    return [*pair_words(folder, size), *data, *where, *more]


def evaluation(folder: Path, size: dict[str, int], dtype: str, seconds: float, theirs: tuple[float, int, bool]) -> None:
    """From decoded audio, so many ``seconds`` of it, to texts."""
    bench, memory = Workbench(), dict[str, float]()
    config = jobs(words_of(folder, size, f"dtype={dtype}", "lam=0.05")).jobs[0].config
    target, audio = bench.pair(config).target, bench.audio(config)
    packs = packs_of(target, audio.samples, None)

    def work() -> object:
        return predict(target, Prefix(target, audio, 0), packs, audio.samples, 0)

    with peak(memory, "mam"):
        spent = median_of(waited(work))
    kept = Prefix(target, audio, 10**11)
    again = median_of(waited(lambda: predict(target, kept, packs, audio.samples, 0)))
    share = busy(work)
    loop, batch, is_sorted = theirs
    say(
        f"{dtype:8}  mam {spent:.2f} s, RTFx {seconds / spent:,.0f}; pipeline {loop:.2f} s, RTFx {seconds / loop:,.0f}"
        f" (batch {batch}{', sorted' if is_sorted else ''}); pipeline/mam {loop / spent:.2f}"
    )
    say(
        f"          with the states before the first layer kept {again:.2f} s; the GPU is busy {share:.0f} % of the"
        f" evaluation; peak {memory['mam']:.1f} GB"
    )


def sweep(folder: Path, size: dict[str, int], dtype: str, rival: Rival, way: tuple[int, bool]) -> None:
    """λ after λ, with scores and run folders."""
    words, bench, memory = words_of(folder, size, f"dtype={dtype}"), Workbench(), dict[str, float]()

    def swept(*lams: float) -> list[Any]:
        plan = jobs([*words, f"lam={','.join(map(str, lams))}"], multirun=True).jobs
        ended = execute(plan, bench, study_folder(plan, f"multirun-{lams[0]}"))
        assert all(end.error is None for end in ended), [end.error for end in ended]
        return [end.outcome.result.timing for end in ended]

    first = timed(lambda: swept(0.0, 0.7))
    made: list[Any] = []
    with peak(memory, "mam"):
        each = timed(lambda: made.extend(swept(*LAMS))) / len(LAMS)
    share = busy(lambda: swept(0.6, 0.8))
    merging, evaluating = (statistics.mean(getattr(one, name) for one in made) for name in ("merge", "evaluate"))
    loop = timed(waited(lambda: rival.one_lam(0.1, dtype, *way)))
    say(
        f"{dtype:8}  mam {60 / each:.1f} λ a minute ({each:.2f} s each: merging {merging:.2f}, evaluating"
        f" {evaluating:.2f}); loop {60 / loop:.1f}; mam/loop {loop / each:.1f}"
    )
    say(
        f"          loading, baseline and the first λ {first:.1f} s; the GPU is busy {share:.0f} % of a λ; peak"
        f" {memory['mam']:.1f} GB"
    )


class Side:
    """FT or L-MAM: a model, its optimizer and a batch."""

    def __init__(
        self, name: str, precision: str, folder: Path, size: dict[str, int], clips: int, length: float
    ) -> None:
        rng = np.random.default_rng(0)
        target, lambdas = load_target(locate(str(folder / "hubert"))), None
        self.precision = getattr(torch, precision)
        if name == "lmam":
            config = jobs(words_of(folder, size, "lam=0.05")).jobs[0].config
            plan = plan_merge(config, *shapes(config.model), config.seed)
            merger = Merger(target.blocks, Source(locate(str(folder / "bert"))).read)
            lambdas = Lambdas(plan)
            learn(target.blocks, plan, merger.sources(plan), lambdas, self.precision)
        target.to(DEVICE, torch.float32)
        lessons = Lessons(None, [rng.integers(5, 31, round(8 * length)).tolist() for _ in range(clips)])
        self.learner = Learner(target, lessons, TrainConfig(name=name), None, lambdas).to(DEVICE).train()
        self.optimizer = torch.optim.AdamW(self.learner.groups())
        with torch.no_grad():
            waves = [rng.standard_normal(int(16000 * length)).astype(np.float32) for _ in range(clips)]
            heard = target.listen(waves)
        self.batch = {"states": heard.states, "lengths": heard.lengths, "index": torch.arange(clips)}

    def step(self) -> None:
        """One update."""
        with torch.autocast(DEVICE.type, self.precision, enabled=self.precision != torch.float32):
            loss = self.learner(**self.batch)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def trainings(folder: Path, size: dict[str, int], few: int = 8, length: float = 10.0, steps: int = 10) -> None:
    """Steps of both sides in turn, after the peak of each alone."""
    make_repeatable(DEVICE)
    for precision, clips in (("float32", few), ("bfloat16", few), ("bfloat16", 4 * few)):
        memory, sides, times = dict[str, float](), dict[str, Side](), {"finetune": [], "lmam": []}
        for name in times:
            before = torch.cuda.memory_allocated() / 1e9 if IS_GPU else 0.0
            with peak(memory, name):
                sides[name] = Side(name, precision, folder, size, clips, length)
                for _ in range(3):
                    sides[name].step()
            memory[name] -= before
        for number in range(steps):
            for name in list(times) if number % 2 else list(times)[::-1]:
                times[name].append(timed(waited(sides[name].step)))
        share = busy(sides["lmam"].step)
        ft, lmam = (statistics.median(times[name]) for name in times)
        ratio = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
        say(
            f"{precision:8}  {clips} clips: FT {1000 * ft:.0f} ms, L-MAM {1000 * lmam:.0f} ms; L-MAM/FT {ratio:.3f}"
            f" (aim 1.05); peak {memory['finetune']:.1f} and {memory['lmam']:.1f} GB; the GPU is busy {share:.0f} % of"
            " L-MAM"
        )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of audio")
    parser.add_argument("--tiny", action="store_true", help="a tiny pair and half a minute; nothing is written")
    arguments = parser.parse_args()
    if not IS_GPU and not arguments.tiny:
        parser.error("torch sees no GPU here")
    os.environ["HF_HUB_OFFLINE"] = "1"
    quiet_libraries()
    transformers.utils.logging.set_verbosity_error()
    size, minutes = (TINY, 0.5) if arguments.tiny else (LARGE, arguments.minutes)
    lengths = clip_lengths(minutes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with torch.device(DEVICE):  # random numbers are made faster there
            make_pair(folder, size)
        write_clips(folder / "clips", lengths)
        rival = Rival(folder)
        dtypes = DTYPES if IS_GPU else DTYPES[:1]
        rivals = {dtype: rival.seconds(dtype) for dtype in dtypes}
        say(f"one evaluation: {len(lengths)} clips of 2 to 20 s, {sum(lengths) / 60:.0f} minutes, decoded")
        for dtype in dtypes:
            evaluation(folder, size, dtype, sum(lengths), rivals[dtype])
        say(f"a sweep over {len(LAMS)} λ, all layers, on the same clips: with scores, tests and run folders")
        for dtype in dtypes[:2]:
            sweep(folder, size, dtype, rival, rivals[dtype][1:])
        say("a step of training: clips of 10 s, front-end frozen, AdamW")
        trainings(folder, size, *((2, 2.0, 2) if arguments.tiny else ()))
    if arguments.tiny:
        return
    old = RESULTS.read_text() if RESULTS.is_file() else ""
    notes = old[old.index("## Notes") :] if "## Notes" in old else ""
    head = (
        "# Benchmarks on a GPU\n\nThis page shows how fast evaluation, sweeps and training are on one GPU, compared"
        " with transformers' pipeline. The models have the sizes of HuBERT-large and BERT-large and random weights."
        " `make bench-gpu` writes this page.\n\n"
        f"- Measured on {datetime.date.today()}: {torch.cuda.get_device_name()}, Python {platform.python_version()},"
        f" torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, transformers"
        f" {transformers.__version__}.\n"
        "- RTFx is the duration of the audio divided by the computing time.\n"
        "- A ratio such as pipeline/mam above 1 means that mam is faster. FT is regular fine-tuning.\n\n"
    )
    RESULTS.write_text(head + "```\n" + "\n".join(lines) + "\n```\n" + (f"\n{notes}" if notes else ""))


if __name__ == "__main__":
    main()
