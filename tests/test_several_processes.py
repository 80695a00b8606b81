"""What several processes know of each other, and what one does not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from socket import socket

import pytest

from mam import processes
from mam.errors import ConfigError

TOGETHER = """
import json, torch
torch.set_num_threads(3)
from mam import processes
processes.join(on_gpus=False)
processes.join(on_gpus=False)
processes.wait()
mine = {"rank": processes.rank(), "local": processes.local_rank(), "count": processes.count()}
mine |= {"main": processes.is_main(), "said": processes.from_main([f"of {processes.rank()}", None])}
mine |= {"all": processes.gathered({"from": processes.rank()}), "threads": torch.get_num_threads()}
with open(f"{mine['rank']}.json", "w") as file:
    json.dump(mine, file)
processes.leave()
assert not torch.distributed.is_initialized()
"""
ALONE = """
import sys
from mam import processes
processes.join(on_gpus=False)
processes.wait()
processes.leave()
assert (processes.rank(), processes.local_rank(), processes.count(), processes.is_main()) == (0, 0, 1, True)
assert processes.from_main("x") == "x" and processes.gathered("x") == ["x"]
print({"torch", "accelerate", "numpy"} & set(sys.modules))
"""


def by_torchrun():
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run([sys.executable, *launcher, "together.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def by_hand():
    """As another launcher starts them, which says nothing of GPUs and threads."""
    with socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    known = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    known |= {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    both = [subprocess.Popen([sys.executable, "together.py"], env=known | {"RANK": str(rank)}) for rank in (0, 1)]
    assert [one.wait(120) for one in both] == [0, 0]


@pytest.mark.parametrize(("start", "locally"), [(by_torchrun, (0, 1)), (by_hand, (0, 0))])
def test_two_know_each_other(start, locally):
    Path("together.py").write_text(TOGETHER)
    start()
    for rank in (0, 1):
        assert json.loads(Path(f"{rank}.json").read_text()) == {
            "rank": rank,
            "local": locally[rank],
            "count": 2,
            "main": rank == 0,
            "said": ["of 0", None],
            "all": [{"from": 0}, {"from": 1}],
            "threads": 3,
        }


@pytest.mark.parametrize("said", [{}, {"WORLD_SIZE": "1", "RANK": "0"}])
def test_one_imports_nothing(said):
    environment = {key: value for key, value in os.environ.items() if key not in ("WORLD_SIZE", "RANK")} | said
    shown = subprocess.run([sys.executable, "-c", ALONE], env=environment, capture_output=True, text=True)
    assert shown.stdout == "set()\n", shown.stderr


@pytest.mark.parametrize("said", ["abc", "", "0", "-1", "1.5", "²"])
def test_a_number_of_processes_that_is_none_is_refused(said, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", said)
    with pytest.raises(ConfigError, match=f"WORLD_SIZE={said}: not a valid number"):
        processes.join(on_gpus=False)


@pytest.mark.parametrize("rank", [None, "first"])
def test_processes_that_cannot_meet_are_refused(rank, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # so that what is set meanwhile is undone
        monkeypatch.delenv(name)
    if rank:
        monkeypatch.setenv("RANK", rank)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=2: the processes cannot connect \(.*Start them with torchrun"):
        processes.join(on_gpus=False)
