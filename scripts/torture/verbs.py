"""Every verb with missing, wrong and surplus arguments, odd folders, odd streams and odd environments."""

from __future__ import annotations

import json
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


def a_run(place: Place) -> None:
    """Copy a finished run into ``in``, and nothing else."""
    with_run(place)


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
                a_run,
                may_pass=passes or what == "only dashes",
                changing=("{work}/m",) if what == "only dashes" else (),
            )
        closed = {"run": QUICK, "ls": ("{in}",), "report": ("{in}", "out={work}/report")}
        for out in ("closed", "full"):
            words = (verb, *closed.get(verb, ("--help",)))
            yield Bad(
                f"{verb} with stdout {out}",
                words,
                a_run,
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


def rows() -> list[Bad]:
    """Return the whole table."""
    return [*of_arguments(), *of_folders()]
