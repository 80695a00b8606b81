"""Several processes that work on one run, as torchrun starts them; alone, every function is trivial.

All of them compute, one of them (`is_main`) writes and talks.
"""

from __future__ import annotations

import os
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def count() -> int:
    """How many processes work on this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def local_rank() -> int:
    """Which of those on this machine this is: its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the one that writes."""
    return rank() == 0


def join(on_gpus: bool) -> None:
    """Meet the others (gloo, with NCCL for tensors on GPUs). Does nothing alone or when done already."""
    if count() > 1 and not distributed.is_initialized():
        if on_gpus:
            torch.cuda.set_device(local_rank())
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")


def wait() -> None:
    """Wait until all are here."""
    if count() > 1:
        distributed.barrier()


def from_main(value: T) -> T:
    """What the main process has, in all of them."""
    if count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: T) -> list[T]:
    """What each of them has, in the order of ranks, in all of them."""
    if count() == 1:
        return [value]
    box: list[T | None] = [None] * count()
    distributed.all_gather_object(box, value)
    return box  # type: ignore[return-value]
