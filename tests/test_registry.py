"""Registration by name: whose a name is, taken names, withdrawal, hashes of code that belongs to no plug-in."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from mam import registry
from mam.errors import ConfigError
from mam.merging.tables import METHODS
from mam.registry import code_sha256, foreign, register, registering, restore, summary_of_choice, withdraw


@pytest.fixture(autouse=True)
def clean():
    yield
    for registration in foreign():
        registry.withdraw_one(registration)


def halve(text: str) -> str:
    """Half of it."""
    return text[: len(text) // 2]


def test_a_plugins_name_is_added_withdrawn_and_restored():
    names, traits = {}, {}
    with registering("a plug-in"):
        register("kind", "half", halve, (names, halve), (traits, 1))
    assert names == {"half": halve} and traits == {"half": 1}
    assert [(entry.kind, entry.name, entry.owner, entry.code) for entry in foreign()] == [
        ("kind", "half", "a plug-in", halve)
    ]
    assert summary_of_choice("kind", "half") == "Half of it." and summary_of_choice("kind", "x") == ""
    kept = withdraw("a plug-in")
    assert names == traits == {} and foreign() == []
    restore(kept)
    assert names == {"half": halve} and len(foreign()) == 1
    withdraw("a plug-in")
    names["half"] = str
    with pytest.raises(
        ConfigError, match="kind=half: the name from the plug-in a plug-in is now registered by other code"
    ):
        restore(kept)


def test_taken_names():
    names = {"own": str}
    with pytest.raises(ConfigError, match="kind=own: is already registered by mam. Choose another name"):
        register("kind", "own", halve, (names, halve))
    with registering("p"):
        register("kind", "half", halve, (names, halve))
    with registering("q"), pytest.raises(ConfigError, match="kind=half: is already registered by the plug-in p"):
        register("kind", "half", halve, (names, halve))


def test_a_cell_may_be_run_again_and_its_code_is_hashed():
    names: dict[str, object] = {}
    register("kind", "half", halve, (names, halve))
    (first,) = foreign()

    def other(text: str) -> str:
        return text

    register("kind", "half", other, (names, other))
    (second,) = foreign()
    assert names == {"half": other} and code_sha256(first.code) != code_sha256(second.code)
    with registering("p"), pytest.raises(ConfigError, match="is already registered by this session"):
        register("kind", "half", halve, (names, halve))


def test_code_without_a_source_is_hashed_by_what_it_does():
    made = []
    for body in ("x", "x", "x + x"):
        namespace: dict[str, object] = {}
        exec(f"def f(x):\n    return {body}\nclass C:\n    def m(self, x):\n        return {body}", namespace)
        made.append([code_sha256(namespace[name]) for name in ("f", "C")])
    assert made[0] == made[1] and all(a != b for a, b in zip(made[0], made[2], strict=True))


def test_a_dataclass_is_hashed_by_its_source_wherever_that_stands(tmp_path):
    """Its __init__ is made by exec, whose code names no file."""
    text = "from dataclasses import dataclass\n\n@dataclass\nclass Data:\n    x: int = 1\n"
    hashes = []
    for name, content in (("one", text), ("two", text), ("three", text.replace("= 1", "= 2"))):
        (tmp_path / f"{name}.py").write_text(content)
        spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        hashes.append(code_sha256(module.Data))
        del sys.modules[name]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_failing_plugin_leaves_nothing():
    names: dict[str, object] = {}
    with pytest.raises(ZeroDivisionError), registering("p"):
        register("kind", "half", halve, (names, halve))
        raise ZeroDivisionError
    assert names == {} and foreign() == []


@pytest.mark.parametrize(
    "name", ["", "a b", "null", "True", "nan", "inf", "7", "a,b", "a=b", "ä", "İ", "ſ", "-x", "[x]"]
)
def test_names_that_cannot_be_typed(name):
    with pytest.raises(ConfigError, match="not a valid name"):
        register("kind", name, halve, ({}, halve))


def test_mams_own_are_not_foreign():
    assert {"linear", "slerp"} <= set(METHODS) and foreign() == []
