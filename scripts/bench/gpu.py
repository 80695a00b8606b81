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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile
import torch
import transformers
from common import LARGE, make_pair, median_of, merged_by_hand, pair_words, timed, write_clips
from torch.autograd import DeviceType
from transformers import AutoProcessor, HubertForCTC, pipeline

from mam.config.compose import jobs
from mam.config.model import shapes
from mam.config.training import TrainConfig
from mam.evaluation.devices import make_repeatable
from mam.evaluation.predict import packs_of, predict
from mam.evaluation.prefix import Prefix
from mam.evaluation.workbench import Workbench
from mam.libraries import quiet_libraries
from mam.merging.learnable import Lambdas, learn
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
BATCHES = (1, 8, 32)
LAMS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
RESULTS = Path(__file__).with_name("RESULTS-gpu.md")
IS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if IS_GPU else "cpu")

START = time.perf_counter()
lines: list[str] = []


def say(text: str) -> None:
    """One line of the results."""
    lines.append(text)
    print(f"{time.perf_counter() - START:4.0f} s  {text}", flush=True)


def waited(work: Callable[[], object]) -> Callable[[], object]:
    """``work``, and what it left on the GPU."""

    def both() -> object:
        made = work()
        if IS_GPU:
            torch.cuda.synchronize()
        return made

    return both


@contextmanager
def peak(found: dict[str, float], name: str) -> Iterator[None]:
    """Peak of the memory that tensors take on the GPU, GB."""
    if IS_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield
    found[name] = torch.cuda.max_memory_allocated() / 1e9 if IS_GPU else 0.0


def busy(work: Callable[[], object]) -> float:
    """Share of the time of ``work`` in which anything runs on the GPU, in percent."""
    if not IS_GPU:
        return 0.0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        seconds = timed(waited(work))
    spans = [one.time_range for one in profile.events() if one.device_type == DeviceType.CUDA]
    covered = end = 0.0
    for span in sorted(spans, key=lambda one: one.start):
        covered += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
    return covered / 1e4 / seconds


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
        f"# On a GPU\n\n`make bench-gpu` on {datetime.date.today()}: {torch.cuda.get_device_name()}, Python"
        f" {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN"
        f" {torch.backends.cudnn.version()}, transformers {transformers.__version__}. HuBERT-large <- BERT-large"
        " geometry, random weights. Written by `scripts/bench/gpu.py`; what stands below Notes is written by hand.\n\n"
    )
    RESULTS.write_text(head + "```\n" + "\n".join(lines) + "\n```\n" + (f"\n{notes}" if notes else ""))


if __name__ == "__main__":
    main()
