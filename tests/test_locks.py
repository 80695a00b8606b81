"""Locks between processes: exclusion, waiting, release after a kill, file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.locks import held

from mam import locks
from mam.errors import MamError
from mam.locks import BusyError, claimed, lock_of


def is_claimed(file: Path, key: str) -> bool:
    """Whether another process holds a claim."""
    try:
        with claimed(file, key, None):
            return False
    except BusyError:
        return True


def test_a_lock_names_what_sets_its_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(MamError, match=r"Cannot use the cache folder .*file/deep .*Set cache_dir=FOLDER or MAM_CACHE\."),
        lock_of(tmp_path / "file" / "deep" / "entry"),
    ):
        pass
    with (
        pytest.raises(MamError, match=r"Set HF_DATASETS_CACHE to another folder\."),
        lock_of(tmp_path / "file" / "deep" / "entry", other="HF_DATASETS_CACHE to another folder"),
    ):
        pass


def test_a_lock_leaves_errors_of_its_block_alone_and_is_released(tmp_path):
    for _ in range(2):
        with pytest.raises(PermissionError, match="denied"), lock_of(tmp_path / "entry", seconds=0.1):
            raise PermissionError(13, "denied")


def test_locks_exclude(tmp_path):
    inside_now, most = [], []

    def work():
        with lock_of(tmp_path / "deep" / "entry"):
            inside_now.append(1)
            most.append(len(inside_now))
            time.sleep(0.02)
            inside_now.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_lock_that_is_held_says_what_to_do(tmp_path):
    with (
        lock_of(tmp_path / "entry"),
        pytest.raises(MamError, match="lock. If no other process of mam is running, delete the file"),
        lock_of(tmp_path / "entry", seconds=0.1),
    ):
        pass


def test_a_lock_that_is_waited_for_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "SILENT", 0.05)
    said = []
    with lock_of(tmp_path / "entry"):
        threading.Timer(0.3, said.append, ["meanwhile"]).start()
        with pytest.raises(MamError), lock_of(tmp_path / "entry", seconds=0.2, say=said.append):
            pass
    assert said == [f"waiting for another process, which has locked {tmp_path / 'entry'}.lock"]


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(fcntl, "lockf", none)
    with pytest.raises(MamError, match=r"Cannot use the cache folder .*No locks available.*Set cache_dir"):
        lock_of(tmp_path / "entry")
    with claimed(tmp_path / "claims", "a", pytest.fail):
        pass
    assert "if the same command is started twice, both may do the same work" in caplog.text
    (tmp_path / "file").write_text("")
    with claimed(tmp_path / "file" / "claims", "a", pytest.fail):
        pass


@pytest.fixture
def holder(tmp_path):
    with held(tmp_path / "claims", "a") as process:
        yield process


def test_a_claim_excludes_other_processes_until_its_own_is_killed(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(locks, "LOOK", 0.02)
    file = tmp_path / "claims"
    assert is_claimed(file, "a") and not is_claimed(file, "b")
    with claimed(file, "b", pytest.fail):
        pass
    waited = []

    def kill() -> None:
        waited.append(time.monotonic())
        os.kill(holder.pid, signal.SIGKILL)

    with claimed(file, "a", kill):
        assert len(waited) == 1
        assert file.exists()
    assert not is_claimed(file, "a") and not file.exists()


def test_a_folder_that_cannot_be_made_does_not_hang(caplog):
    """In /proc, making a folder says that there is no such file, as the removal of one by another process does."""
    with claimed(Path("/proc/none/claims"), "a", pytest.fail):
        pass
    assert "/proc/none/claims: cannot be locked" in caplog.text


def test_claims_leave_nothing(tmp_path):
    for act in (None, lambda folder: (folder / "kept").touch()):
        with claimed(tmp_path / "deep" / "claims", "a", pytest.fail):
            assert act is None or act(tmp_path / "deep") is None
        left = sorted(path.name for path in tmp_path.rglob("*"))
        assert left == ([] if act is None else ["deep", "kept"])


RACER = """
import sys, time; from pathlib import Path; from mam import locks
locks.LOOK = 0.001
shared = Path(sys.argv[2])
for _ in range(60):
    with locks.claimed(Path(sys.argv[1]), "a", lambda: None):
        before = int(shared.read_text())
        time.sleep(0.001)
        shared.write_text(str(before + 1))
"""


def test_processes_that_come_and_go_never_hold_one_claim_together(tmp_path):
    (tmp_path / "count").write_text("0")
    words = [sys.executable, "-c", RACER, tmp_path / "claims", tmp_path / "count"]
    racers = [subprocess.Popen(words) for _ in range(4)]
    assert [racer.wait() for racer in racers] == [0] * 4
    assert (tmp_path / "count").read_text() == "240"
    assert not (tmp_path / "claims").exists()
