"""The cache folder: what is damaged is made again, what is oldest goes first, what cannot be written is said once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from support.runs import mam, once, predictions

from mam.cache import Cache, cache_folder
from mam.errors import ConfigError, MamError
from mam.evaluation.workbench import Workbench


def tensor(number: int, size: int = 100) -> dict[str, torch.Tensor]:
    return {"x": torch.full((size,), float(number)), "n": torch.tensor([number])}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 10**9, pytest.fail)


def test_what_is_kept_comes_back_bit_for_bit(cache):
    path = cache.path("states", {"b": 1, "a": [2]})
    assert path == cache.path("states", {"a": [2], "b": 1}) != cache.path("states", {"a": [2]})
    assert cache.tensors(path) is None
    kept = {"x": torch.randn(3, 4).to(torch.bfloat16), "empty": torch.zeros(0)}
    cache.keep_tensors(path, kept, {"whole": "no"})
    found, notes = cache.tensors(path)
    assert notes == {"whole": "no"} and found.keys() == kept.keys()
    assert all(torch.equal(found[name], kept[name]) and found[name].dtype == kept[name].dtype for name in kept)
    cache.keep_json(path.with_suffix(".json"), {"a": [1, "é"]})
    assert cache.json(path.with_suffix(".json")) == {"a": [1, "é"]}


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "another", "empty"])
def test_damage_is_noticed(cache, damage):
    path = cache.path("states", damage)
    cache.keep_tensors(path, tensor(1), {})
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[-5] ^= 1
    broken = {"cut": bytes(raw[:-10]), "flip": bytes(raw), "text": b"not at all", "empty": b""}
    if damage == "another":  # whole, but not ours
        save_file(tensor(2), path)
    else:
        path.write_bytes(broken[damage])
    assert cache.tensors(path) is None
    cache.keep_tensors(path, tensor(1), {})
    assert cache.tensors(path) is not None


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = Cache(tmp_path, 10_000, pytest.fail)
    paths = [cache.path("states", i) for i in range(8)]
    for i, path in enumerate(paths[:6]):  # some 1.4 KB each
        cache.keep_tensors(path, tensor(i, 300), {})
        os.utime(path, (1000 + i, 1000 + i))
    assert cache.tensors(paths[0]) is not None  # used now
    for i, path in enumerate(paths[6:], 6):
        cache.keep_tensors(path, tensor(i, 300), {})
    there = [path.exists() for path in paths]
    assert there[0] and not there[1] and there == [True, *sorted(there[1:])], "the oldest are gone, in their order"
    assert there[-2:] == [True, True]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 10_000
    cache.keep_tensors(cache.path("states", "huge"), tensor(1, 10_000), {})
    assert not cache.path("states", "huge").exists() and paths[0].exists(), "what never fits displaces nothing"


def test_a_full_disk_is_said_once_and_nothing_is_left(tmp_path, monkeypatch):
    said: list[str] = []
    cache = Cache(tmp_path, 10**9, said.append)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    for i in range(3):
        cache.keep_tensors(cache.path("states", i), tensor(i), {})
    assert len(said) == 1 and "No space left on device" in said[0] and "computed again" in said[0]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["CACHEDIR.TAG"]


def test_a_limit_of_zero_keeps_nothing(tmp_path):
    cache = Cache(tmp_path, 0)
    cache.keep_tensors(cache.path("states", 1), tensor(1), {})
    cache.keep_json(cache.path("baselines", 1, ".json"), {})
    assert not list(tmp_path.iterdir())


def test_the_folder_is_chosen_by_word_variable_or_home(monkeypatch):
    monkeypatch.setenv("MAM_CACHE", "/from/variable")
    assert cache_folder("here") == Path("here") and cache_folder(None) == Path("/from/variable")
    monkeypatch.delenv("MAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder(None) == Path("/xdg/mam")


def test_the_verb_shows_and_clears(cache):
    cache.keep_tensors(cache.path("states", 1), tensor(1, 250_000), {})
    cache.keep_json(cache.path("baselines", 1, ".json"), {"items": []})
    where = f"cache_dir={cache.folder}"
    shown = mam("cache", "info", where)
    assert shown.returncode == 0 and shown.stderr == ""
    assert re.search(r"hidden states before the first merged layer +1 +1\.0 ", shown.stdout)
    assert re.search(r"predictions of unmerged targets +1 +0\.0 ", shown.stdout)
    assert max(map(len, shown.stdout.splitlines()[2:])) <= 80
    cleared = mam("cache", "clear", where)
    assert cleared.stdout.startswith("removed 2 entries, 1.0 MB, from ")
    assert [path.name for path in cache.folder.rglob("*") if path.is_file()] == ["CACHEDIR.TAG"]
    for wrong in (["cache"], ["cache", "burn"], ["cache", "info", "x=1"]):
        answer = mam(*wrong)
        assert answer.returncode == 2 and "mam cache info|clear [cache_dir=FOLDER]" in answer.stderr
    empty = mam("cache", "info", "cache_dir=/nowhere/at/all")
    assert empty.returncode == 0


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["audio/1-100032-A-0.wav", "audio/a.json", "states/.hidden", "notes.txt", "audio"])
def test_a_folder_with_other_files_is_no_cache(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        ConfigError, match=f"^cache_dir={tmp_path}: is not a cache of mam .it contains {name}.. Give a "
    ):
        Cache(tmp_path, 10**9)
    with pytest.raises(ConfigError, match=f"^cache_dir={tmp_path / name}: is a file. Give a folder$"):
        Cache(tmp_path / name, 10**9)


@pytest.mark.parametrize("words", [["cache", "clear"], ["cache", "info"], ["run", "evaluate.cache_gb=0.00001"]])
def test_every_verb_leaves_such_a_folder_alone(tmp_path, words):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "1-100032-A-0.wav").write_text("mine")
    refused = mam(*words, f"cache_dir={tmp_path}")
    assert refused.returncode == 2 and f"mam: cache_dir={tmp_path}: is not a cache of mam" in refused.stderr
    assert files_of(tmp_path) == {"audio/1-100032-A-0.wav": b"mine"}


def test_files_of_others_in_a_cache_are_never_removed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    key = Cache(tmp_path / "none", 0).path("states", 1).name
    folder = tmp_path / "cache"
    cache = Cache(folder, 2_000, pytest.fail)
    cache.keep_tensors(cache.path("states", 0), tensor(0), {})
    mine = [folder / "mine.txt", folder / "states" / "mine.json", folder / "states" / f"{key}.bak", elsewhere / key]
    for path in mine:
        path.write_bytes(bytes(5_000))
    (folder / "audio").symlink_to(elsewhere)
    (folder / "states" / f".{key}.x1y2_z34").write_text("of a killed process")
    for i in range(1, 5):
        cache.keep_tensors(cache.path("states", i), tensor(i), {})
    assert len(list((folder / "states").glob("*.safetensors"))) == 2
    assert Cache(folder, 0).clear()[0] == 2
    assert sorted(files_of(folder)) == sorted(["CACHEDIR.TAG", "mine.txt", "states/mine.json", f"states/{key}.bak"])
    assert all(path.stat().st_size == 5_000 for path in mine)


def test_an_untagged_cache_of_earlier_versions_is_taken_over(tmp_path):
    old = Cache(tmp_path, 10**6, pytest.fail)
    old.keep_tensors(old.path("states", 1), tensor(1), {})
    (tmp_path / "CACHEDIR.TAG").unlink()
    (tmp_path / "audio").mkdir()
    cache = Cache(tmp_path, 10**6, pytest.fail)
    assert cache.tensors(cache.path("states", 1)) is not None
    cache.keep_tensors(cache.path("states", 2), tensor(2), {})
    assert (tmp_path / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("safetensors.torch.save_file", SafetensorError("No space left on device (os error 28)")),
        ("safetensors.torch.save_file", OSError(5, "Input/output error")),
        ("mam.files.os.fsync", OSError(28, "No space left on device")),
        ("tempfile.mkstemp", OSError(30, "Read-only file system")),
        ("filelock.FileLock.acquire", OSError(13, "Permission denied")),
        ("filelock.FileLock.acquire", NotImplementedError("no flock here")),
        ("pathlib.Path.mkdir", OSError(30, "Read-only file system")),
        ("pathlib.Path.glob", OSError(5, "Input/output error")),
    ],
)
def test_whatever_fails_is_said_once_and_the_caller_goes_on(tmp_path, monkeypatch, place, error):
    said: list[str] = []
    cache = Cache(tmp_path / "cache", 10**9, said.append)
    monkeypatch.setattr(place, failing(error))
    for i in range(3):
        path = cache.path("states", i)
        with cache.turn(path):
            assert cache.tensors(path) is None
            cache.keep_tensors(path, tensor(i), {})
        with cache.turn(path.with_suffix(".json")):
            assert cache.json(path.with_suffix(".json")) is None
            cache.keep_json(path.with_suffix(".json"), {})
    assert len(said) == 1
    assert said[0].startswith("the cache is no longer written; what is missing from it is computed again")


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), SafetensorError("mmap failed")])
def test_what_cannot_be_read_is_missing(cache, monkeypatch, error):
    path = cache.path("states", 1)
    cache.keep_tensors(path, tensor(1), {})
    cache.keep_json(path.with_suffix(".json"), {})
    monkeypatch.setattr("safetensors.safe_open", failing(error))
    monkeypatch.setattr("mam.cache.read_bytes", failing(error if isinstance(error, OSError) else MamError("no")))
    assert cache.tensors(path) is None
    assert cache.json(path.with_suffix(".json")) is None


def test_a_run_needs_no_cache(monkeypatch):
    expected = predictions(once(["data.limit=2", "cache_dir=whole"]))
    monkeypatch.setattr("filelock.FileLock.acquire", failing(OSError(30, "Read-only file system")))
    said: list[str] = []
    bench = Workbench()
    monkeypatch.setattr(bench.terminal, "say", said.append)
    assert predictions(once(["data.limit=2", "cache_dir=other", "outputs=elsewhere"], bench)) == expected
    assert [line.partition(":")[0] for line in said] == [
        "the cache is no longer written; what is missing from it is computed again"
    ]
