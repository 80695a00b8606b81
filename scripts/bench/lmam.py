"""What does learning λ cost? Steps of regular fine-tuning (FT) and of L-MAM, on HuBERT-base geometry.

    python scripts/bench/lmam.py   # prints the ratio of the times and the extra memory

Random weights, front-end frozen and computed beforehand, AdamW, fp32. Both share one process for the time, and have
a process each for the peak of memory. The side whose model is built later runs slower, whatever it is: both orders are
timed, and the ratio is the geometric mean of the medians of paired steps.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import make_pair, peak_alone, peak_memory

from mam.config.training import TrainConfig
from mam.merging.lambdas import Lambdas
from mam.merging.learnable import learn
from mam.merging.merger import Merger
from mam.merging.options import MergeOptions
from mam.merging.plan import plan_merge
from mam.merging.shape import Shape
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source
from mam.training.learner import Learner
from mam.training.lessons import Lessons

LAYERS, WIDTH, HEADS = 12, 768, 12
SHAPE = Shape(LAYERS, WIDTH, HEADS)
PLAN = plan_merge(MergeOptions(lam=0.05), SHAPE, SHAPE)


class Side:
    """One of the two: a model, its optimizer and a batch."""

    def __init__(self, name: str, folder: Path, clips: int, seconds: float) -> None:
        rng = np.random.default_rng(0)
        target = load_target(locate(str(folder / "hubert")))
        lambdas = None
        if name == "lmam":
            merger = Merger(target.blocks, Source(locate(str(folder / "bert"))).read)
            lambdas = Lambdas(PLAN)
            learn(target.blocks, PLAN, merger.sources(PLAN), lambdas)
            del merger
        lessons = Lessons(None, [rng.integers(5, 31, 40).tolist() for _ in range(clips)])
        self.learner = Learner(target, lessons, TrainConfig(name=name), None, lambdas).train()
        self.optimizer = torch.optim.AdamW(self.learner.groups())
        with torch.no_grad():
            waves = [rng.standard_normal(int(16000 * seconds)).astype(np.float32) for _ in range(clips)]
            heard = target.listen(waves)
        self.batch = {"states": heard.states, "lengths": heard.lengths, "index": torch.arange(clips)}

    def step(self) -> float:
        """One update; seconds."""
        start = time.perf_counter()
        self.learner(**self.batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start


def peak(name: str, arguments: argparse.Namespace, folder: Path) -> float:
    """Peak resident memory of a process of its own, MB."""
    words = [
        "--side",
        name,
        "--folder",
        str(folder),
        "--clips",
        str(arguments.clips),
        "--seconds",
        str(arguments.seconds),
    ]
    return peak_alone(__file__, *words)


def timed(order: tuple[str, ...], arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Seconds of each step of both sides, interleaved."""
    sides = {side: Side(side, folder, arguments.clips, arguments.seconds) for side in order}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(arguments.steps + 2):
        for side in list(sides) if number % 2 else list(sides)[::-1]:
            seconds = sides[side].step()
            if number > 1:  # two rounds to warm up
                times[side].append(seconds)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=7, help="timed steps of each side")
    parser.add_argument("--side", choices=("finetune", "lmam"), help="run one side alone and print its peak memory")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        side = Side(arguments.side, arguments.folder, arguments.clips, arguments.seconds)
        for _ in range(3):
            side.step()
        print(peak_memory())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pair(folder)
        memory = {side: peak(side, arguments, folder) for side in ("finetune", "lmam")}
        orders = [tuple(memory), tuple(memory)[::-1]]
        times = [timed(order, arguments, folder) for order in orders]
    ratios = [statistics.median(b / a for a, b in zip(one["finetune"], one["lmam"], strict=True)) for one in times]
    median = {side: statistics.median([seconds for one in times for seconds in one[side]]) for side in memory}
    merged = LAYERS * 3 * WIDTH * WIDTH * 4 / 2**20
    extra = memory["lmam"] - memory["finetune"]
    allowed = 2 * merged + 0.05 * memory["finetune"]
    print(
        f"HuBERT-base geometry, {arguments.clips} clips of {arguments.seconds:g} s, {torch.get_num_threads()} threads"
    )
    print(
        f"step    FT {median['finetune']:.3f} s, L-MAM {median['lmam']:.3f} s;"
        f" ratio {math.sqrt(ratios[0] * ratios[1]):.3f} (aim 1.05):"
        f" {ratios[0]:.3f} with FT built first, {ratios[1]:.3f} with L-MAM built first"
    )
    print(
        f"memory  FT {memory['finetune']:.0f} MB, L-MAM {memory['lmam']:.0f} MB: {extra:+.0f} MB "
        f"(aim {allowed:.0f}: source and merged Q, K, V of {merged:.0f} MB each, and 5 % of FT)"
    )


if __name__ == "__main__":
    main()
