"""The cache folder: what is damaged is made again, what is oldest goes first, what cannot be written is said once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.runs import mam

from mam.cache import Cache, cache_folder


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
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


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
    assert not [path for path in cache.folder.rglob("*") if path.is_file()]
    for wrong in (["cache"], ["cache", "burn"], ["cache", "info", "x=1"]):
        answer = mam(*wrong)
        assert answer.returncode == 2 and "mam cache info|clear [cache_dir=FOLDER]" in answer.stderr
    empty = mam("cache", "info", "cache_dir=/nowhere/at/all")
    assert empty.returncode == 0
