import io
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from mam.errors import DataError, MamError
from mam.files import (
    assets,
    atomic,
    atomic_path,
    inside,
    local_path,
    own_folder,
    remove,
    sha256_file,
    sha256_json,
    write_csv,
    write_json,
    write_jsonl,
)
from mam.small_files import read_jsonl


def test_atomic_writes_whole_files(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic(path) as file:
        file.write("λ\n")
        assert not path.exists()
    assert path.read_bytes() == "λ\n".encode()
    assert os.listdir(path.parent) == ["file.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as file:
        file.write("new")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_a_full_disk_is_one_message(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MamError, match=r"Cannot write .*file.txt: No space left on device. Free space"):
        write_json(tmp_path / "file.txt", {})
    assert os.listdir(tmp_path) == []


def test_only_errors_of_writing_are_called_so(tmp_path):
    """What a block reads may fail too: a network, another file."""
    for raised in (ConnectionResetError(104, "reset"), PermissionError(13, "denied", "other"), OSError("no number")):
        with pytest.raises(OSError) as caught, write_then(tmp_path / "file.txt", raised):
            pass
        assert caught.value is raised
    for raised in (OSError(28, "No space left on device"), OSError(30, "Read-only file system", "elsewhere")):
        with pytest.raises(MamError, match="Cannot write .*file.txt: "), write_then(tmp_path / "file.txt", raised):
            pass
    with pytest.raises(MamError, match="Cannot write .*file.txt: denied"), atomic_path(tmp_path / "file.txt") as path:
        raise PermissionError(13, "denied", str(path))
    assert os.listdir(tmp_path) == []


@contextmanager
def write_then(path, raised):
    with atomic(path) as file:
        file.write("half")
        yield
        raise raised


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path):
    path = tmp_path / "result.json"
    code = (
        "import sys, time; from pathlib import Path; from mam.files import atomic\n"
        f"with atomic(Path({str(path)!r})) as f:\n"
        " f.write('half'); f.flush(); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not path.exists()


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"wer": float("nan")})
    assert os.listdir(tmp_path) == []


def test_jsonl_round_trip_and_broken_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"text": "zwei\nZeilen"}, {"text": "\u2028"}])
    assert read_jsonl(path) == [{"text": "zwei\nZeilen"}, {"text": "\u2028"}]
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(MamError, match="line 2: cannot be read as JSON"):
        read_jsonl(path)


def test_hash_follows_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abd")
    assert sha256_file(path) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})


def test_paths_stay_inside(tmp_path):
    assert inside(tmp_path, "a/b.wav", "here") == tmp_path / "a/b.wav"
    for outside in ("../x.wav", "/etc/passwd", "a/../../x"):
        with pytest.raises(DataError, match="metadata.csv, line 3: .* points outside"):
            inside(tmp_path, outside, "metadata.csv, line 3")


def test_assets_and_home():
    assert local_path("asset:demo_speech") == assets() / "demo_speech"
    assert assets().name == "mam_demo" and (assets() / "demo_hubert" / "config.json").is_file()
    assert local_path("~/x") == local_path(os.path.expanduser("~")) / "x"


def test_without_the_demo_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mam_demo", None)  # as import sees a package that is not there
    for name in ("asset:demo_speech", "asset:sentences.txt", "asset:demo_beats/beats.pt"):
        with pytest.raises(MamError, match=rf"{name}: .*pip install 'mam-bench\[demo\]'.*pip install -e \. -e demo"):
            local_path(name)
    assert local_path("demo_speech").name == "demo_speech"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        *((text, f"'{text}") for text in ("=1+1", "+x", "@a", "-a", "\tx", "=", "-")),
        *((text, text) for text in ("-0.5", "+1e3", "-inf", "+0.0 %", "a=b", "é", "", "'")),
        (-2.5, "-2.5"),
        (None, ""),
        ("a,b", '"a,b"'),
    ],
)
def test_cells_that_a_spreadsheet_would_compute(cell, written):
    file = io.StringIO()
    write_csv(file, [["x", cell], ["y", 1]])
    assert file.getvalue() == f"x,{written}\ny,1\n"


def test_what_is_removed_is_the_thing_itself(tmp_path):
    kept = tmp_path / "kept"
    (kept / "a").mkdir(parents=True)
    for name in ("link", "loop", "nothing"):
        (tmp_path / name).symlink_to({"link": kept, "loop": tmp_path / "loop", "nothing": "nowhere"}[name])
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "link").symlink_to(kept)
    for name in ("link", "loop", "nothing", "pipe", "file", "folder", "absent"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (kept / "a").is_dir()
    with pytest.raises(MamError, match=r"kept/none: cannot be removed \(.*\). Remove it by hand"):
        (tmp_path / "file").touch()
        remove(tmp_path / "file" / "kept" / "none")


def test_a_folder_whose_name_is_taken_is_named(tmp_path):
    assert own_folder(tmp_path / "a" / "b").is_dir() and own_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(MamError, match=f"{path}: cannot be made a folder"):
            own_folder(path)
