"""Every verb with missing, wrong and surplus arguments, odd folders, odd streams and odd environments."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.torture.cases import Bad
from scripts.torture.words import IRREGULAR, LONG
from scripts.torture.world import QUICK, Place

VERBS = ("run", "inspect", "merge", "score", "ls", "list", "report", "compare", "export", "push", "cache")
TAKES_RUN: dict[str, tuple[str, ...]] = {  # what follows the folder of a run
    "score": (),
    "compare": ("{in}/run",),
    "export": ("{work}/exported",),
    "push": ("me/torture", "out={work}/pushed"),
}
ODD_ARGUMENTS = {
    "a word that is not there": "nothing",
    "an empty word": "",
    "a blank": " ",
    "a long word": LONG,
    "a long path": "/".join(["x" * 200] * 30),
    "escape codes": "\x1b[31mred",
    "a newline": "a\nb",
    "rich markup": "[bold]x[/red]",
    "bytes that are no UTF-8": "\udcff",
    "a tilde": "~nobody_at_all/x",
    "an unknown flag": "--nothing",
    "an unknown key": "nothing=1",
    "a file": "/etc/passwd",
    "a device": "/dev/zero",
    "a folder of the system": "/proc/self",
    "only dashes": "--",
}
ODD_FOLDERS: dict[str, Callable[[Path], object]] = {
    name: make for name, make in IRREGULAR.items() if name != "a folder"
}
NAMES = (
    "[bold]x[",
    "a b",
    "it's",
    'a"b',
    "a\nb",
    "\x1b[31mred",
    "-x",
    "λ🎉",
    "\u202eabc",
    "a,b",
    "a=b",
    "$HOME",
    "%s",
    "{0}",
)


def with_run(place: Place, name: str = "run") -> Path:
    """Copy a finished run into ``in``."""
    return place.copy(place.world.a_run(), name)


def of_arguments() -> Iterator[Bad]:
    """Yield each verb with no, wrong and surplus arguments."""
    for verb in VERBS:
        is_fine = verb in ("run", "inspect", "ls", "list")
        yield Bad(f"{verb} without arguments", (verb,), may_pass=is_fine, changing=("{work}",))
        yield Bad(f"{verb} --help", (verb, "--help"), must_pass=True)
        yield Bad(f"{verb} with twenty words", (verb, *[f"w{i}" for i in range(20)]))
        for what, word in ODD_ARGUMENTS.items():
            after = tuple(text for text in TAKES_RUN.get(verb, ()))
            words = (verb, word, *after, *(("out={work}/m",) if verb == "merge" else ()))
            passes = verb in ("ls", "report") and what not in ("an unknown flag", "an unknown key")
            passes = passes or (verb in ("ls", "list", "inspect", "run") and what == "only dashes")
            yield Bad(
                f"{verb} with {what}",
                words,
                lambda place: with_run(place) and None,
                may_pass=passes or what == "only dashes",
                changing=("{work}/m",) if what == "only dashes" else (),
            )
        closed = {"run": QUICK, "ls": ("{in}",), "report": ("{in}", "out={work}/report")}
        for out in ("closed", "full"):
            words = (verb, *closed.get(verb, ("--help",)))
            yield Bad(
                f"{verb} with stdout {out}",
                words,
                lambda place: with_run(place) and None,
                may_pass=True,
                out=out,
                changing=("{work}/report",),
            )
            yield Bad(f"{verb} --help with stdout {out}", (verb, "--help"), may_pass=True, out=out)
    for word in ("help", "--help", "-h", "--version"):
        yield Bad(f"{word} alone", (word,), must_pass=True)
    for what, word in ODD_ARGUMENTS.items():
        yield Bad(f"no verb but {what}", (word,))
    for verb, key, values in (
        ("score", "seed", ("x", "-1", "1e999", "9" * 400, "")),
        ("score", "normalizer", ("nothing", "", "../x", LONG, "[a]")),
        ("score", "plugins", ("x", "[", "[nothing]", "[1]", "[/dev/zero]")),
        ("export", "fold", ("x", "-1", "1", "9" * 400)),
        ("export", "force", ("x", "", "1")),
        ("push", "private", ("x", "")),
        ("push", "fold", ("x",)),
        ("cache", "cache_dir", ("/etc/passwd", "/dev/zero", "", LONG)),
        ("report", "out", ("/dev/null", "/proc/x", "{in}/file", LONG)),
    ):
        for value in values:
            first = {"cache": ("info",), "report": ("{in}",)}.get(verb, ("{in}/run", *TAKES_RUN.get(verb, ())))

            def prepare(place: Place) -> None:
                with_run(place)
                (place.inputs / "file").write_text("x")

            fine = (verb, key) in (("cache", "cache_dir"), ("score", "normalizer"), ("report", "out")) and value == ""
            yield Bad(
                f"{verb} with {key}={value[:20]}",
                (verb, *first, f"{key}={value}"),
                prepare,
                may_pass=fine,
                changing=("{in}/report",) if fine else (),
            )


def of_folders() -> Iterator[Bad]:
    """Yield verbs whose folder is a pipe, a link to itself and the like, and folders with odd names."""
    for verb in ("ls", "report", *TAKES_RUN):
        for what, make in ODD_FOLDERS.items():
            words = (verb, "{in}/odd", *TAKES_RUN.get(verb, ()))

            def prepare(place: Place, make: Callable[[Path], object] = make) -> None:
                with_run(place)
                make(place.inputs / "odd")

            yield Bad(f"{verb} of {what}", words, prepare, names=("odd",), may_pass=verb == "ls")
    for name in NAMES:

        def rename(place: Place, name: str = name) -> None:
            with_run(place, name)

        shown = json.dumps(name)
        for verb in ("ls", "score", "export", "report", "compare"):
            folder = f"{{in}}/{name}"
            words = {
                "ls": ("{in}", "--long"),
                "score": (folder,),
                "export": (folder, "{work}/exported"),
                "report": (folder, "out={work}/report"),
                "compare": (folder, folder),
            }[verb]
            changing = ("{work}/exported", "{work}/report", *((folder,) if verb == "score" else ()))
            yield Bad(
                f"{verb} of a run in the folder {shown}", (verb, *words), rename, must_pass=True, changing=changing
            )
    for what, folder in {
        "a file": "{in}/file",
        "below a file": "{in}/file/x",
        "a device": "/dev/null",
        "proc": "/proc/x",
    }.items():
        for verb, words in {
            "run": ("run", *QUICK, "outputs=@"),
            "a sweep": ("run", "--multirun", "lam=0,0.1", *QUICK, "outputs=@"),
            "merge": ("merge", "out=@"),
            "export": ("export", "{in}/run", "@"),
            "push": ("push", "{in}/run", "me/x", "out=@"),
            "report": ("report", "{in}/run", "out=@"),
        }.items():

            def prepare_file(place: Place) -> None:
                with_run(place)
                (place.inputs / "file").write_text("x")

            filled = tuple(word.replace("@", folder) for word in words)
            yield Bad(f"{verb} into {what}", filled, prepare_file, names=(Path(folder).name, folder))


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
    yield Bad(
        "COLUMNS=-5", ("ls", "{in}"), lambda place: with_run(place) and None, env={"COLUMNS": "-5"}, must_pass=True
    )
    cache = {"a file": "{in}/file", "a device": "/dev/null", "below proc": "/proc/x", "a long path": "/" + "x" * 5000}
    for what, folder in cache.items():
        yield Bad(f"MAM_CACHE is {what}", ("run", *QUICK), _file, env={"MAM_CACHE": folder}, may_pass=True)
        yield Bad(
            f"mam cache info where MAM_CACHE is {what}",
            ("cache", "info"),
            _file,
            env={"MAM_CACHE": folder},
            may_pass=True,
        )
        yield Bad(
            f"mam cache clear where MAM_CACHE is {what}",
            ("cache", "clear"),
            _file,
            env={"MAM_CACHE": folder},
            may_pass=True,
        )
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
    for words in (
        ("--shell-completion",),
        ("-sc", "install=nothing"),
        ("-sc", "query=nothing"),
        ("-sc", "uninstall=bash"),
        ("-sc", "x"),
    ):
        yield Bad(f"completion by hand: {' '.join(words)}", words, may_pass=True)


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
    return [*of_arguments(), *of_folders(), *of_environment(), *of_places()]
