"""The device of a run, found without torch where that is possible, and the environment of its predictions."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mam import processes
from mam.config.schema import Config
from mam.errors import MamError
from mam.identity import VERSION, code_record
from mam.records.parts import Environment

if TYPE_CHECKING:
    import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
# NVIDIA, its Tegra, AMD, and Windows' subsystem for Linux.
DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvmap", "/dev/kfd", "/dev/dxg")


def device_type(config: Config) -> str:
    """Return ``"cpu"`` or ``"cuda"``. Raises MamError if the device does not exist or does not support the dtype."""
    name = ("cuda" if _has_gpu() else "cpu") if config.device == "auto" else config.device
    if name == "cuda" and not _has_gpu():
        raise MamError("device=cuda: torch finds no GPU. Set device=cpu, or install a CUDA build of torch.")
    if name == "cpu" and config.dtype == "float16":
        raise MamError("dtype=float16: not available on a CPU. Set dtype=float32 or dtype=bfloat16.")
    if name == "cpu":
        return name
    import torch

    if config.dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise MamError("dtype=bfloat16: not supported by this GPU. Set dtype=float32 or dtype=float16.")
    if processes.local_rank() >= torch.cuda.device_count():
        raise MamError(
            f"device=cuda: there are {processes.count()} processes but only {torch.cuda.device_count()} GPUs on this"
            " machine. Start"
            " one process per GPU, or set device=cpu."
        )
    return name


def _has_gpu() -> bool:
    """Return whether torch sees a GPU; it is imported only where a driver and a build for GPUs are installed."""
    if not any(map(os.path.exists, DRIVERS)) or not _is_built_for_gpus():
        return False
    import torch

    return torch.cuda.is_available()


@cache
def _is_built_for_gpus() -> bool:
    """Return whether the installed torch is a build for GPUs, read in its ``version.py``; True if it does not say."""
    package = find_spec("torch")
    if package is None or package.origin is None:
        return True
    try:
        lines = (Path(package.origin).parent / "version.py").read_text(encoding="utf-8").splitlines()
    except OSError:
        return True
    stated = {line.split(":")[0].split("=")[0].strip(): line.split("=")[-1].strip() for line in lines if "=" in line}
    return any(stated.get(name, "?") != "None" for name in ("cuda", "hip"))


def device_of(config: Config) -> torch.device:
    """Return the device of this process. Raises MamError as `device_type` does."""
    import torch

    name = device_type(config)
    return torch.device(name, processes.local_rank()) if name == "cuda" else torch.device(name)


def make_repeatable(device: torch.device) -> None:
    """Make a GPU compute the same bits every time, with full float32 precision. A CPU does so anyway."""
    if device.type != "cuda":
        return
    import torch

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
    import torch

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
    import torch

    device = device_of(config)
    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        transformers=version("transformers"),
        mam=VERSION,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        dtype=f"{config.dtype}, compiled" if config.compile else config.dtype,
        threads=torch.get_num_threads(),
        code=code_record(),
    )
