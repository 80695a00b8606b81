"""Several processes that work on one run, as started by torchrun; in a single process every function is trivial.

All processes compute; only one (`is_main`) writes files and prints. In a single process torch is not imported.
"""

from __future__ import annotations

import os
import sys
from typing import TypeVar

from mam.errors import ConfigError, first_line

# accelerate's PartialState is not used. On a machine with a GPU it opens only NCCL, but objects and models with
# device=cpu also need gloo. Without LOCAL_RANK it treats each process on a GPU as a single process. If OMP_NUM_THREADS
# is unset, it sets the number of threads regardless of ``threads=``. Only the calls below would remain of it.

T = TypeVar("T")


def count() -> int:
    """Return the number of processes that work on this run; ConfigError if WORLD_SIZE is not a valid number."""
    return _number("WORLD_SIZE", 1, least=1)


def rank() -> int:
    """Return the rank of this process, from 0."""
    return _number("RANK", 0) if count() > 1 else 0


def local_rank() -> int:
    """Return the rank of this process on its machine, which is the index of its GPU."""
    return _number("LOCAL_RANK", 0) if count() > 1 else 0


def is_main() -> bool:
    """Return whether this process writes files and prints."""
    return rank() == 0


def join(on_gpus: bool) -> None:
    """Join the process group (gloo, with NCCL for tensors on GPUs).

    Does nothing in a single process or if the group exists already.

    Raises:
        ConfigError: The processes cannot meet.
    """
    if count() == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    if on_gpus:
        torch.cuda.set_device(local_rank())
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")
    except ValueError as error:  # RANK or MASTER_ADDR is missing
        raise ConfigError(
            f"WORLD_SIZE={count()}: the processes cannot connect ({first_line(error)}). Start them with torchrun, or"
            " unset WORLD_SIZE."
        ) from error


def leave() -> None:
    """Leave the process group at the end of the program; does nothing without one."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def wait() -> None:
    """Wait until all processes reach this point."""
    if count() > 1:
        from torch import distributed

        distributed.barrier()


def from_main(value: T) -> T:
    """Return the main process's ``value`` in all processes."""
    if count() == 1:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def gathered(value: T) -> list[T]:
    """Return the ``value`` of every process, in the order of ranks, in all processes."""
    if count() == 1:
        return [value]
    from torch import distributed

    values: list[T | None] = [None] * count()
    distributed.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def _number(name: str, default: int, least: int = 0) -> int:
    """Return a number that torchrun sets in the environment; ConfigError if it is not a valid number."""
    value = os.environ.get(name, str(default))
    if not (value.isdecimal() and int(value) >= least):
        raise ConfigError(
            f"{name}={value}: not a valid number. torchrun sets it; for a single process unset WORLD_SIZE."
        )
    return int(value)
