"""The words of the verbs that take no configuration, and what each says of itself; no model and no torch."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mam.errors import ConfigError
from mam.verbs import VERBS
from mam.verbs.common import Words

EXPLAINED = [verb for verb in VERBS if verb != "run"]  # Hydra answers for `mam run`


@pytest.fixture
def words():
    made = Words("export", "RUN DIR... [fold=N] [force=true]", "mam export RUN DIR")
    made.add_argument("run", metavar="RUN")
    made.add_argument("folders", metavar="DIR", nargs="+")
    made.key("fold", "N", "fold whose model")
    made.key("force", "true", "replace", choices=("true", "false"))
    return made


@pytest.mark.parametrize(
    "argv, read",
    [
        ("a b", {"run": "a", "folders": ["b"], "fold": None, "force": None}),
        ("fold=1 a force=true b c", {"run": "a", "folders": ["b", "c"], "fold": "1", "force": "true"}),
        ("a fold=1 b fold=x=y", {"run": "a", "folders": ["b"], "fold": "x=y", "force": None}),
        ("a b fold=", {"run": "a", "folders": ["b"], "fold": "", "force": None}),
        ("a b fold=-1", {"run": "a", "folders": ["b"], "fold": "-1", "force": None}),
    ],
)
def test_keys_stand_anywhere_and_the_last_counts(words, argv, read):
    assert vars(words.read(argv.split())) == read


@pytest.mark.parametrize(
    "argv, problem",
    [
        ("", "the following arguments are required: RUN, DIR"),
        ("a fold=1", "the following arguments are required: DIR"),
        ("a b fol=1 x=2", "fol, x: not a key of this command"),
        ("a b --fast", "unrecognized arguments: --fast"),
        ("a b --fo=1", "unrecognized arguments: --fo=1"),
        ("a b force=yes", "invalid choice: 'yes'"),
    ],
)
def test_what_does_not_fit_is_named_with_the_usage(words, argv, problem, capsys):
    with pytest.raises(ConfigError) as caught:
        words.read(argv.split())
    assert problem in str(caught.value)
    assert str(caught.value).endswith(". Usage: mam export RUN DIR... [fold=N] [force=true]")
    assert capsys.readouterr() == ("", "")


def test_every_verb_explains_itself(capsys):
    for verb in EXPLAINED:
        for flag in ("-h", "--help"):
            with pytest.raises(SystemExit) as ended:
                import_module(f"mam.verbs.{verb}").main(["out=x", flag] if verb in ("report", "merge") else [flag])
            shown = capsys.readouterr().out
            assert not ended.value.code and shown.startswith(f"usage: mam {verb} ")
            assert VERBS[verb][1:] in shown and f"example:\n  mam {verb} " in shown
            assert max(map(len, shown.splitlines())) <= 80
    with pytest.raises(SystemExit):
        import_module("mam.verbs.score").main(["--help"])
    assert "\n  normalizer=NAME  " in capsys.readouterr().out


@pytest.mark.parametrize(
    "verb, argv",
    [
        ("score", "a b"),
        ("compare", "a"),
        ("compare", "a b c"),
        ("compare", "a b normalizer=none"),
        ("export", "a"),
        ("export", "a b force=1"),
        ("report", "out=x"),
        ("cache", ""),
        ("cache", "look"),
        ("cache", "info clear"),
        ("inspect", "--fast"),
        ("inspect", "data.limit=3"),
        ("merge", "lam=0.1"),
        ("merge", "lam=0.1 out="),
        ("merge", "out=a out=b"),
    ],
)
def test_bad_words_stop_a_verb(verb, argv):
    with pytest.raises(ConfigError):
        import_module(f"mam.verbs.{verb}").main(argv.split())


def test_keys_reach_the_cache(tmp_path, capsys):
    cache = import_module("mam.verbs.cache")
    assert cache.main([f"cache_dir={tmp_path / 'here'}", "info"]) == 0
    assert str(tmp_path / "here") in capsys.readouterr().out.replace("\n", "")
    assert cache.main(["clear", f"cache_dir={tmp_path / 'here'}"]) == 0
    assert not Path(tmp_path / "here").exists() or not any(Path(tmp_path / "here").iterdir())


def test_help_imports_nothing_that_computes():
    program = f"""
import sys
from importlib import import_module
for verb in {EXPLAINED}:
    try:
        import_module("mam.verbs." + verb).main(["--help"])
    except SystemExit:
        pass
print(sorted({{"torch", "numpy", "transformers", "hydra"}} & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
