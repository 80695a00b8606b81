"""The device of a run, and the environment on which the bits of its predictions depend."""

from __future__ import annotations

import os
import platform

import torch
import transformers

from mam import processes
from mam.config.schema import Config
from mam.errors import MamError
from mam.identity import VERSION, code_record
from mam.records.parts import Environment

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def device_of(config: Config) -> torch.device:
    """Return the configured device. Raises MamError if it does not exist or does not support the dtype."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    if name == "cuda" and not torch.cuda.is_available():
        raise MamError("device=cuda: torch sees no GPU here. Say device=cpu, or install a CUDA build of torch.")
    if name == "cpu" and config.dtype == "float16":
        raise MamError("dtype=float16: not usable on a CPU. Say dtype=float32 or dtype=bfloat16.")
    if name == "cuda" and config.dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise MamError("dtype=bfloat16: this GPU has no bfloat16. Say dtype=float32 or dtype=float16.")
    if name == "cuda" and processes.local_rank() >= torch.cuda.device_count():
        raise MamError(
            f"device=cuda: {processes.count()} processes, and {torch.cuda.device_count()} GPUs on this machine. Start"
            " one process a GPU, or say device=cpu."
        )
    return torch.device(name, processes.local_rank()) if name == "cuda" else torch.device(name)


def make_repeatable(device: torch.device) -> None:
    """Make a GPU compute the same bits every time, with full float32 precision. A CPU does so anyway."""
    if device.type != "cuda":
        return
    torch.use_deterministic_algorithms(True)
    _fix_cublas(device)
    # Filling new tensors with NaN finds bugs in kernels, but costs bandwidth.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False  # would choose kernels by timing them
    torch.backends.cudnn.allow_tf32 = False  # torch's default: convolutions keep 10 bits of float32's 23


def _fix_cublas(device: torch.device) -> None:
    """Set the workspace of cuBLAS, without which torch refuses to multiply, to the size that a Hopper uses anyway.

    torch checks the environment variable at the first product. As long as it is set, torch parses it at every product:
    0.1 ms, more than a product of a short clip takes (torch 2.11). So it is removed if torch does not check again.
    """
    if CUBLAS in os.environ:
        return

    def multiply() -> None:
        torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)

    os.environ[CUBLAS] = ":4096:8"
    multiply()
    del os.environ[CUBLAS]
    try:
        multiply()
    except RuntimeError:
        os.environ[CUBLAS] = ":4096:8"


def environment(config: Config) -> Environment:
    """Return versions, mam's sources, device, dtype and threads, on which the bits of a prediction depend."""
    device = device_of(config)
    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        transformers=str(transformers.__version__),
        mam=VERSION,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        dtype=f"{config.dtype}, compiled" if config.compile else config.dtype,
        threads=torch.get_num_threads(),
        code=code_record(),
    )
