"""What a GPU's benchmarks share: the device, lines of results, clocks, peaks of memory, and how busy it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from common import timed
from torch.autograd import DeviceType

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
