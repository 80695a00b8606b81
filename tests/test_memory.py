"""Running out of memory: what is recognised, what is said, and how much is free under limits."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from mam import memory
from mam.errors import MamError
from mam.memory import explained, free_memory, gigabytes, is_shortage


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux says so there")
def test_free_memory_is_what_linux_calls_available():
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    stated = {name: 1024 * int(value.split()[0]) for name, value in lines.items()}
    # Other processes take and give meanwhile.
    assert abs(free_memory() - stated["MemAvailable"]) < 0.2 * stated["MemTotal"]


def raised(act) -> Exception:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        act()
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        raised(lambda: torch.empty(2**50)),
        raised(lambda: np.empty(2**56)),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        SafetensorError("Error while deserializing header: Cannot allocate memory (os error 12)"),
    ],
)
def test_errors_of_all_libraries(error):
    assert is_shortage(error)
    said = r"^not enough memory \(.*; .* GB are free\)\. Take less\.$"
    with pytest.raises(MamError, match=said), explained("Take less."):
        raise error


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes differ"), OSError(errno.ENOENT, "No such file"), MamError("out of memory"), KeyError("a")],
)
def test_other_errors_are_raised_as_they_are(error):
    assert not is_shortage(error)
    with pytest.raises(type(error)) as caught, explained("Take less."):
        raise error
    assert caught.value is error


def test_a_limit_of_the_process_counts():
    code = (
        "import resource, psutil; limit = psutil.Process().memory_info().vms + 3 * 10**8\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "from mam.memory import free_memory; print(free_memory())"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10**8 < int(shown.stdout) <= 3 * 10**8


def test_limits_of_control_groups_count(tmp_path, monkeypatch):
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        pytest.skip("no control groups of version 2")
    folder = tmp_path / own
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (folder / "memory.max").write_text("max\n")
    (folder / "memory.current").write_text("1000\n")
    assert free_memory() > 10**6
    (folder / "memory.max").write_text("5000\n")
    assert free_memory() == 4000
    (folder / "memory.max").write_text("500\n")
    assert free_memory() == 0


@pytest.mark.parametrize(
    ("nbytes", "text"), [(1000, "0.001 MB"), (4.5e8, "0.45 GB"), (7.9e9, "7.9 GB"), (1.78e11, "178 GB")]
)
def test_sizes_in_words(nbytes, text):
    assert gigabytes(nbytes) == text
