"""A search that is killed at any write, or whose file is damaged, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.kills import copies_of
from support.searches import SETTINGS, bowl, tried_by

from mam.errors import MamError
from mam.files import sha256_json
from mam.tuning import known
from mam.tuning.known import NAME, Known
from mam.tuning.race import race

LAYERS = {"cmaes": 3}
pytestmark = pytest.mark.usefixtures("never_waits")


def searched(name, folder, evaluated=None, say=print, stop=None):
    """All rates by λ; what is evaluated is appended to ``evaluated``, and the search is interrupted at ``stop``."""
    calls = [] if evaluated is None else evaluated

    def rate(lam):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(lam)
        return bowl(lam)

    folder.mkdir(parents=True, exist_ok=True)
    return tried_by(name, rate, folder, 3, LAYERS.get(name, 1), say, **SETTINGS[name])


@pytest.mark.parametrize("name", SETTINGS)
def test_killed_at_any_write_it_asks_the_same_and_evaluates_what_is_left(name, tmp_path):
    folder = tmp_path / "search"
    folder.mkdir()
    with copies_of(folder, tmp_path / "states") as states:
        whole = searched(name, folder)
    assert len(whole) < len(states)  # more than one state a write
    left = []
    for state in states:
        evaluated: list = []
        assert list(searched(name, state, evaluated).items()) == list(whole.items())
        left.append(len(evaluated))
    assert left == sorted(left, reverse=True) and (left[0], left[-1]) == (len(whole), 0)


def test_a_race_is_resumed_too(tmp_path):
    rng, n = np.random.default_rng(0), 64
    lams, lengths = [0.0, 0.1, 0.2, 0.5], rng.integers(3, 9, n)
    table = rng.poisson(1, (4, n)) / 5 + np.array([0, 0, 0.1, 2])[:, None]  # means of five draws: no whole numbers

    def run(folder, stop=None):
        calls, store = [], Known(folder)

        def errors(lam, positions):
            def compute():
                if len(calls) == stop:
                    raise KeyboardInterrupt
                calls.append(lam)
                return [*table[lams.index(lam)][positions], *lengths[positions]]

            both = store.numbers(f"{lam} on {sha256_json(positions)}", 2 * len(positions), compute)
            return np.array(both[: len(positions)]), np.array(both[len(positions) :], np.int64)

        return race(errors, lams, n, looks=4, seed=1, settles=False), len(calls)

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, evaluations = run(tmp_path / "whole")
    for _ in range(1, evaluations):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", 1)
    resumed, left = run(tmp_path / "killed")
    assert resumed == whole and left == 1 and len(whole.path) > 1


def sealed(numbers):
    return lambda path: path.write_text(
        json.dumps({"sha256": sha256_json([path.parent.name, numbers]), "numbers": numbers})
    )


def changed(**entries):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def text(content):
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def instead(make):
    def replace(path):
        path.unlink()
        make(path)

    return replace


DAMAGE = {
    "emptied": text(""),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by a line": lambda path: os.truncate(path, path.stat().st_size - 3),
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(500)),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "not UTF-8": text(b'{"sha256": "\xff", "numbers": {}}'),
    "UTF-16": lambda path: path.write_bytes(path.read_text().encode("utf-16")),
    "half a character": text('{"sha256": "", "numbers": {"\\ud800": [1.0]}}'),
    "a list": text("[]"),
    "a list of objects": text("[{}]"),
    "a number": text("7"),
    "a string": text('"numbers"'),
    "null": text("null"),
    "true": text("true"),
    "an empty object": text("{}"),
    "deeply nested": text("[" * 100_000 + "]" * 100_000),
    "deeply nested numbers": changed(numbers={"0.1": json.loads("[" * 200 + "]" * 200)}),
    "without a sum": lambda path: path.write_text(json.dumps({"numbers": json.loads(path.read_text())["numbers"]})),
    "with another key": changed(more=1),
    "another sum": changed(sha256="0" * 64),
    "a sum that is a number": changed(sha256=7),
    "a sum that is null": changed(sha256=None),
    "no numbers": changed(numbers={}),
    "numbers in a list": changed(numbers=[0.1]),
    "numbers null": changed(numbers=None),
    "one rate changed": lambda path: path.write_text(path.read_text().replace("0.0", "0.1", 1)),
    "NaN": sealed({"0.1": [float("nan")]}),
    "infinity": sealed({"0.1": [float("inf")]}),
    "too large a number": lambda path: path.write_text(path.read_text().replace("0.0", "1e999", 1)),
    "an integer of a thousand digits": sealed({"0.1": [10**1000]}),
    "an integer of ten thousand digits": text('{"sha256": "", "numbers": {"0.1": [' + "9" * 10_000 + "]}}"),
    "a negative rate": sealed({"0.1": [-0.5]}),
    "a rate that is no rate": sealed({"0.1": [1e300]}),
    "a rate that is text": sealed({"0.1": ["0.5"]}),
    "a rate that is true": sealed({"0.1": [True]}),
    "a rate without a list": sealed({"0.1": 0.5}),
    "a rate that is null": sealed({"0.1": [None]}),
    "a folder": instead(Path.mkdir),
    "a folder with files": instead(lambda path: (path / "a").mkdir(parents=True)),
    "a pipe": instead(os.mkfifo),
    "a link to nothing": instead(lambda path: path.symlink_to("nowhere")),
    "a link to itself": instead(lambda path: path.symlink_to(path.name)),
    "a link to a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to a folder": instead(lambda path: path.symlink_to("/tmp")),
}


@pytest.mark.parametrize("name", ["optuna", "cmaes"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_and_computed_again(damage, name, tmp_path):
    whole, said = searched(name, tmp_path / "whole"), []
    with pytest.raises(KeyboardInterrupt):
        searched(name, tmp_path / "killed", stop=6)
    path = tmp_path / "killed" / NAME
    DAMAGE[damage](path)
    evaluated: list = []
    assert list(searched(name, path.parent, evaluated, said.append).items()) == list(whole.items())
    assert len(evaluated) == len(whole) and path.is_file() and not path.is_symlink()
    (sentence,) = said
    assert sentence.startswith(str(path)) and sentence.endswith(". Its results are computed again")
    again: list = []
    assert searched(name, path.parent, again) == whole and not again  # what was written over it is whole


def test_the_file_of_another_search_is_not_taken_for_ones_own(tmp_path):
    searched("optuna", tmp_path / "one")
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "one" / NAME, tmp_path / "other" / NAME)
    said: list[str] = []
    evaluated: list = []
    searched("optuna", tmp_path / "other", evaluated, said.append)
    assert len(evaluated) == 13 and "was changed, or belongs to another search" in said[0]


def test_numbers_of_another_count_are_computed_again_and_others_never_read(tmp_path):
    tmp_path.joinpath(NAME).touch()
    sealed({"0.1": [0.5, 0.25], "7.5": [0.0], "[0.1]": [0.0]})(tmp_path / NAME)
    store = Known(tmp_path)
    assert store.numbers("0.1", 2, pytest.fail) == [0.5, 0.25]
    assert store.numbers("0.1", 1, lambda: [0.75]) == [0.75]
    assert Known(tmp_path).numbers("0.1", 1, pytest.fail) == [0.75]


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    whole = searched("grid", tmp_path)
    monkeypatch.setattr(known, "LARGEST", 100)
    said: list[str] = []
    assert searched("grid", tmp_path, say=said.append) == whole and "Such a file may have at most" in said[0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(MamError, match=f"Cannot write .*none/{NAME}"):
        tmp_path.joinpath("none").touch()
        Known(tmp_path / "none").numbers("0.1", 1, lambda: [0.1])
