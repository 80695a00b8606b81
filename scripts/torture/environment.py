"""Odd environments: variables, terminals, locales, completion, working folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.torture.cases import Bad
from scripts.torture.verbs import a_run
from scripts.torture.words import IRREGULAR, LONG
from scripts.torture.world import QUICK, Place


def of_environment() -> Iterator[Bad]:
    """Yield odd environments."""
    rank = ("abc", "-1", "0", "1e9", "", "2")
    for value in rank:
        yield Bad(f"WORLD_SIZE={value}", ("run", *QUICK), env={"WORLD_SIZE": value}, may_pass=True, seconds=40)
        yield Bad(f"RANK={value}", ("run", *QUICK), env={"RANK": value}, may_pass=True, seconds=40)
        yield Bad(f"LOCAL_RANK={value}", ("run", *QUICK), env={"LOCAL_RANK": value, "WORLD_SIZE": "1"}, may_pass=True)
    train = ("run", "train=lmam", *QUICK, "train.steps=1")
    for name, value in (("WORLD_SIZE", "abc"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "x"), ("RANK", "7")):
        yield Bad(f"training with {name}={value}", train, env={name: value}, may_pass=True, seconds=40)
    for name, value in {
        "COLUMNS": "0",
        "LINES": "x",
        "TERM": "\x1b[31m",
        "MAM_CONFIG_DIR": "/nothing",
        "XDG_CACHE_HOME": "/dev/null",
        "OMP_NUM_THREADS": "x",
        "PYTHONHASHSEED": "x",
        "CUDA_VISIBLE_DEVICES": "x",
        "HF_HOME": "/dev/null",
        "NO_COLOR": "1",
        "TZ": "nothing/there",
        "SLURM_JOB_ID": "x",
        "MPLBACKEND": "nothing",
        "PYTHONOPTIMIZE": "2",
        "HYDRA_FULL_ERROR": "1",
        "TMPDIR": "/nothing",
        "COMP_LINE": "mam run ",
    }.items():
        yield Bad(f"{name}={value!r}", ("run", *QUICK), env={name: value}, may_pass=True)
    yield Bad("COLUMNS=-5", ("ls", "{in}"), a_run, env={"COLUMNS": "-5"}, must_pass=True)
    cache = {"a file": "{in}/file", "a device": "/dev/null", "below proc": "/proc/x", "a long path": "/" + "x" * 5000}
    for what, folder in cache.items():
        yield Bad(f"MAM_CACHE is {what}", ("run", *QUICK), _file, env={"MAM_CACHE": folder}, may_pass=True)
        for act in ("info", "clear"):
            name = f"mam cache {act} where MAM_CACHE is {what}"
            yield Bad(name, ("cache", act), _file, env={"MAM_CACHE": folder}, may_pass=True)
    none = {"HOME": None, "MAM_CACHE": None, "XDG_CACHE_HOME": "{cache}"}
    yield Bad("no HOME", ("run", *QUICK), env=none, must_pass=True)
    yield Bad("HOME is nowhere", ("run", *QUICK), env=none | {"HOME": "/nothing"}, must_pass=True)
    yield Bad(
        "no environment but PATH",
        ("ls",),
        env=dict.fromkeys(("HOME", "LANG", "TMPDIR", "COLUMNS")),
        may_pass=True,
    )
    for encoding in ("ascii", "latin-1", "cp1252"):
        yield Bad(f"a terminal of {encoding}", ("run", *QUICK), encoding=encoding, must_pass=True)
        yield Bad(f"help on a terminal of {encoding}", ("--help",), encoding=encoding, must_pass=True)
        yield Bad(f"an error on a terminal of {encoding}", ("run", "lam=λ"), encoding=encoding)
    cold = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    yield Bad(
        "a locale without UTF-8",
        ("run", *QUICK),
        env=cold,
        is_cold=True,
        must_pass=True,
        seconds=120,
        changing=("{home}",),
    )
    yield Bad("an error in a locale without UTF-8", ("run", "lam=λ"), env=cold, is_cold=True, seconds=90)
    yield Bad(
        "python -O",
        ("run", *QUICK),
        env={"PYTHONOPTIMIZE": "1"},
        is_cold=True,
        must_pass=True,
        seconds=120,
        changing=("{home}",),
    )
    yield Bad("PYTHONWARNINGS=error", ("ls",), env={"PYTHONWARNINGS": "error"}, is_cold=True, may_pass=True, seconds=90)
    for what, line in {
        "nothing": "",
        "a verb": "mam ru",
        "a key": "mam run la",
        "an open bracket": "mam run lam=[",
        "escape codes": "mam run \x1b[31m",
        "a long line": f"mam run {LONG}",
        "no program": "x",
        "a wrong folder": "mam run --config-dir /nothing ",
    }.items():
        words = ("--shell-completion", "query=bash")
        yield Bad(f"completion of {what}", words, env={"COMP_LINE": line, "COMP_POINT": "8"}, may_pass=True)
    for asked in (
        ("--shell-completion",),
        ("-sc", "install=nothing"),
        ("-sc", "query=nothing"),
        ("-sc", "uninstall=bash"),
        ("-sc", "x"),
    ):
        yield Bad(f"completion by hand: {' '.join(asked)}", asked, may_pass=True)


def _file(place: Place) -> None:
    (place.inputs / "file").write_text("x")


def of_places() -> Iterator[Bad]:
    """Yield odd working folders."""

    def gone(place: Place) -> None:
        shutil.rmtree(place.work)
        place.work.mkdir()
        (place.work / "mam_conf").write_text("a file where configurations may be")

    yield Bad("mam_conf is a file", ("run", *QUICK), gone, may_pass=True)
    for what, make in IRREGULAR.items():

        def outputs(place: Place, make: Callable[[Path], object] = make) -> None:
            make(place.outputs)

        fine = what in ("a folder",)
        for verb in ("run", "ls", "report"):
            words = {"run": QUICK, "ls": (), "report": ("outputs",)}[verb]
            yield Bad(
                f"{verb} where outputs is {what}",
                (verb, *words),
                outputs,
                may_pass=fine or verb == "ls",
                names=("outputs",),
            )


def rows() -> list[Bad]:
    """Return the whole table."""
    return [*of_environment(), *of_places()]
