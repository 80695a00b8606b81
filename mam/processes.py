"""Several processes that work on one run, as torchrun starts them; alone, every function is trivial.

All of them compute, one of them (`is_main`) writes and talks. Alone torch is not imported.
"""

from __future__ import annotations

import os
import sys
from typing import TypeVar

from mam.errors import ConfigError, first_line

# accelerate's PartialState is not used: where there is a GPU it opens NCCL alone, while objects and models with
# device=cpu need gloo beside; without LOCAL_RANK it takes each process on a GPU for alone; and where OMP_NUM_THREADS is
# unset it sets the number of threads, whatever ``threads=`` says. What is left of it are the calls below.

T = TypeVar("T")


def count() -> int:
    """How many processes work on this run. Raises ConfigError, as the others do, where WORLD_SIZE is no number."""
    return _number("WORLD_SIZE", 1, least=1)


def rank() -> int:
    """Which of them this is, from 0."""
    return _number("RANK", 0) if count() > 1 else 0


def local_rank() -> int:
    """Which of those on this machine this is: its GPU."""
    return _number("LOCAL_RANK", 0) if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the one that writes."""
    return rank() == 0


def join() -> None:
    """Meet the others (gloo, with NCCL for tensors on GPUs). Does nothing alone or when done already.

    Raises:
        ConfigError: they cannot be found.
    """
    if count() == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    except ValueError as error:  # RANK or MASTER_ADDR is missing
        raise ConfigError(
            f"WORLD_SIZE={count()}: the processes cannot meet ({first_line(error)}). Start them with torchrun, or unset"
            " WORLD_SIZE."
        ) from error


def leave() -> None:
    """Part from the others at the end of the program. Does nothing where none were met."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def wait() -> None:
    """Wait until all are here."""
    if count() > 1:
        from torch import distributed

        distributed.barrier()


def from_main(value: T) -> T:
    """What the main process has, in all of them."""
    if count() == 1:
        return value
    from torch import distributed

    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: T) -> list[T]:
    """What each of them has, in the order of ranks, in all of them."""
    if count() == 1:
        return [value]
    from torch import distributed

    box: list[T | None] = [None] * count()
    distributed.all_gather_object(box, value)
    return box  # type: ignore[return-value]


def _number(name: str, default: int, least: int = 0) -> int:
    """A number that torchrun sets in the environment."""
    said = os.environ.get(name, str(default))
    if not (said.isdecimal() and int(said) >= least):
        raise ConfigError(f"{name}={said}: is no such number. torchrun sets it; for one process unset WORLD_SIZE.")
    return int(said)
