"""Plug-ins that are broken, or give something else than they should: one message, no traceback, nothing left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.plugins import HALF, forget_plugins, plugin
from support.runs import mam, once

from mam.config.compose import jobs
from mam.errors import ConfigError, MamError
from mam.files import assets
from mam.merging.tables import METHODS
from mam.registry import foreign

QUICK = ["data.limit=2", "evaluate.draws=100"]


@pytest.fixture(autouse=True)
def no_plugins():
    """No test leaves a plug-in."""
    yield
    forget_plugins()


BROKEN = {
    "def x(:\n": r"cannot be loaded. .*mine.py, line 1: invalid syntax",
    "\n1 / 0\n": r"cannot be loaded. .*mine.py, line 2: 1 / 0 \(ZeroDivisionError: division by zero\)",
    "import nowhere_at_all\n": r"mine.py, line 1: .*No module named 'nowhere_at_all'",
    "raise SystemExit(3)\n": r"cannot be loaded. .*mine.py, line 1: raise SystemExit\(3\)",
    "from mam.plugins import nothing_like_it\n": "cannot import name 'nothing_like_it'",
    HALF.replace("half", "linear"): "method=linear: is already registered by mam",
    HALF + HALF: "method=half: is already registered by the plug-in",
    HALF.replace("half", "null"): "method=null: not a valid name",
    "from mam.plugins import *\n@target_family('x')\nclass X(Target): ...\n": "target family=x: X lacks advance",
    "\0": r"plugins=./mine.py: cannot be loaded",
    (
        "from mam.plugins import method\n@method\ndef two(t, s):\n    return t\n"
    ): "method=two: has the arguments .*. It must take",
    "from mam.plugins import control\n@control\ndef mine(s, t, p):\n    return s\n": "@control needs parentheses",
    **{
        f"from mam.plugins import {name}\n@{name}('mine')\ndef mine(a): ...\n": f"@{name} takes no name. Write @{name}"
        for name in ("method", "pairing", "normalizer", "language_normalizer")
    },
    "from mam.plugins import schedule\n@schedule\ndef mine(l, d, o):\n    return []\n": "@schedule needs parentheses",
    (
        "from mam.plugins import schedule\n@schedule('x', reads=('y',))\ndef x(l, d, o): ...\n"
    ): "schedule=x: y in reads= are not options",
    (
        "from mam.plugins import tuner\n@tuner(reads=('y',))\ndef x(a, b, c, d, e):\n    return {}\n"
    ): "tuner: y in reads= are not keys of tune",
    "from mam.plugins import *\nsource_family('bert', 'image')\n": "source family=bert: is already registered by",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_ends_in_one_message(text):
    plugin(text)
    with pytest.raises(ConfigError, match=BROKEN[text]) as caught:
        jobs(["plugins=[./mine.py]"])
    assert str(caught.value).startswith("plugins=./mine.py: ") and "\n" not in str(caught.value)
    assert foreign() == [] and "half" not in METHODS


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("plugins=[./none.py]", "plugins=./none.py: there is no file .*/none.py"),
        ("plugins=[nowhere.module]", "there is no module nowhere"),
        ("plugins=[mam.nowhere]", "there is no module mam.nowhere"),
        ("plugins=./mine.py", "plugins takes one list, the same for all runs"),
        ("plugins=['']", "plugins: one of the names is empty. Remove it"),
        ("plugins=['~nosuchuser/mine.py']", "there is no file .*~nosuchuser/mine.py"),
        ("plugins=[.]", "there is no file .*/__init__.py"),
        ("plugins=[[a]]", "plugins"),
    ],
)
def test_names_of_plugins_that_lead_nowhere(word, message):
    with pytest.raises(ConfigError, match=message):
        jobs([word])


def test_plugins_do_not_vary_in_a_sweep_or_a_study():
    plugin(HALF)
    with pytest.raises(ConfigError, match="plugins takes one list, the same for all runs"):
        jobs(["plugins=[./mine.py],[./mine.py]"], multirun=True)
    (study,) = jobs(["study.name=x", "+study.axes.plugins=[[./mine.py]]"]).jobs
    with pytest.raises(ConfigError, match="plugins"):
        from mam.config.studies import study_jobs

        study_jobs(study)


MISBEHAVING = '''
import torch
from mam.plugins import Listing, control, data_format, layer_method, method, normalizer, pairing, schedule, tuner

@method
def cut(target, source, lam):
    """Of another shape."""
    return target[:1]

@method
def undefined(target, source, lam):
    """Not a number."""
    return target * float("nan")

@method
def wrong(target, source, lam):
    """Fails."""
    return target @ source[:3]

@layer_method()
def lacking(target, source, lam):
    """Q alone."""
    return {"q": target.parts["q"]}

@schedule("much")
def much(lam, depth, options):
    """Above 1."""
    return [2.0] * depth

@schedule("short")
def short(lam, depth, options):
    """Too few."""
    return [lam]

@control()
def small(source, target, place):
    """Of another shape."""
    return torch.zeros(3)

@pairing
def far(selected, target_depth, source_depth):
    """Layers that are not there."""
    return {0: 99}

@normalizer
def number(text):
    """No text."""
    return 3

@tuner()
def lost(rate, settings, seed, folder, layers):
    """Asks for words."""
    return {"x": rate("x")}

@data_format("listless", "Nothing.")
def listless(root):
    """No listing."""
    return []
'''


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("method=cut", r"layer 0, q: method=cut control=none returns a weight of \(1, 128\)"),
        ("method=undefined", "layer 0, q: method=undefined control=none returns NaN or infinite values"),
        ("method=wrong", "mine.py, line 18, in wrong: RuntimeError: "),
        ("method=lacking", r"layer 0, k: method=lacking control=none does not return a pair \(weight, bias or None\)"),
        ("schedule=much", r"schedule=much: returns \[2.0, 2.0, 2.0, 2.0\]. It must return 4 numbers from 0 to 1"),
        ("schedule=short", r"schedule=short: returns \[0.05\]. It must return 4 numbers"),
        ("control=small", r"layer 0, q: control=small returns \(3,\)"),
        ("pairing=far", "pairing=far: the source has 4 layers"),
        ("data.normalizer=number", "normalizer=number: returns a int for"),
        ("tune=lost", "tune=lost: chose λ='x'. It must be a number from 0 to 1, or one number per merged layer"),
        (
            "data=listless data.root=.",
            "data.format=listless: returns a list. It must return a Listing with a list of Examples",
        ),
    ],
)
def test_a_plugin_that_gives_something_else(words, message):
    plugin(MISBEHAVING)
    with pytest.raises(MamError, match=message):
        once(["plugins=[./mine.py]", *words.split(), *QUICK])
    assert not list(Path("outputs").rglob("result.json"))


def test_what_a_plugin_prints_does_not_mix_with_output():
    plugin("print('hello')\n" + HALF)
    shown = mam("inspect", "plugins=[./mine.py]", "method=half", "--json")
    assert json.loads(shown.stdout)["target"]["model_type"] == "hubert" and shown.stderr == "hello\n"


def test_an_error_in_a_plugin_has_no_traceback():
    plugin(MISBEHAVING)
    shown = mam("run", "plugins=[./mine.py]", "method=wrong", *QUICK)
    assert shown.returncode == 1 and "Traceback" not in shown.stderr
    assert "\nmam: " in shown.stderr and "mine.py, line 18, in wrong" in shown.stderr


def test_a_checkpoint_cannot_name_a_plugin(tmp_path):
    folder = shutil.copytree(assets() / "demo_bert", tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    path = plugin("raise RuntimeError('was run')\n", str(tmp_path / "evil.py"))
    (folder / "config.json").write_text(json.dumps(config | {"plugins": [str(path)]}))
    assert once([f"model.source={folder}", *QUICK]).result.extensions is None
