"""Several processes that work on one run, as started by torchrun; in a single process every function is trivial.

All processes compute; only one (`is_main`) writes files and prints.
"""

from __future__ import annotations

import os
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def count() -> int:
    """Return the number of processes that work on this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def local_rank() -> int:
    """Return the rank of this process on its machine, which is the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Return whether this process writes files and prints."""
    return rank() == 0


def join(on_gpus: bool) -> None:
    """Join the process group (gloo, with NCCL for tensors on GPUs).

    Does nothing in a single process or if the group exists already.
    """
    if count() > 1 and not distributed.is_initialized():
        if on_gpus:
            torch.cuda.set_device(local_rank())
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")


def wait() -> None:
    """Wait until all processes reach this point."""
    if count() > 1:
        distributed.barrier()


def from_main(value: T) -> T:
    """Return the main process's ``value`` in all processes."""
    if count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: T) -> list[T]:
    """Return the ``value`` of every process, in the order of ranks, in all processes."""
    if count() == 1:
        return [value]
    box: list[T | None] = [None] * count()
    distributed.all_gather_object(box, value)
    return box  # type: ignore[return-value]
