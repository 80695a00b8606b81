"""Bad configurations: every key with odd values, the grammar of words, and a stranger's own configuration files."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.torture.cases import Bad
from scripts.torture.world import QUICK, SECRET, Place

KIND = "bad input"
HUGE = str(2**63)
LONG = "x" * 100_000
BOMB = "\n".join(["a: &a0 [x,x,x,x,x,x,x,x,x]", *(f"b{i}: &a{i + 1} [{','.join([f'*a{i}'] * 9)}]" for i in range(12))])
# Values that are tried with each key; a key takes some of them in turn, and always those of ALWAYS.
ALWAYS = ("", "nan", "[]", "-1")
VALUES = {
    "": "empty",
    "-1": "minus one",
    "0": "zero",
    HUGE: "2**63",
    "9" * 400: "400 digits",
    "1e999": "1e999",
    "-1e999": "-1e999",
    "nan": "nan",
    "-inf": "-inf",
    "1e-320": "denormal",
    "[]": "empty list",
    "[1,2]": "list",
    "{a:1}": "mapping",
    "{}": "empty mapping",
    "null": "null",
    "true": "true",
    "'λ 🎉'": "unicode",
    "'\u202egnp'": "right-to-left mark",
    "\udcff": "a byte that is no UTF-8",
    LONG: "100,000 letters",
    "${lam}": "interpolation of another key",
    "${oc.env:HOME}": "interpolation of the environment",
    "${nothing.there}": "interpolation of nothing",
    "???": "missing value",
    "'\x1b[31mred\x07'": "escape codes",
    "../../../etc/passwd": "a path upwards",
    "/dev/zero": "a device",
    "[[[[[[[[1]]]]]]]]": "deep list",
    "'[bold]x[/bold]'": "rich markup",
    "a b": "a blank",
    "'\"'": "a quote",
    "-": "a dash",
}


def keys() -> list[str]:
    """Return every key of the schema."""
    from mam.config.reference import key_docs
    from mam.config.schema import Config

    return [entry.key for entry in key_docs(Config)]


def of_keys() -> Iterator[Bad]:
    """Yield each key with four odd values; what is accepted must run."""
    pool = [value for value in VALUES if value not in ALWAYS]
    for number, key in enumerate(keys()):
        turn = [pool[(3 * number + step) % len(pool)] for step in range(3)]
        for value in (ALWAYS[number % len(ALWAYS)], *turn):
            word = f"{key}={value}"
            limit = () if key.startswith("data.limit") else QUICK[:1]
            draws = () if key.startswith("evaluate.draws") else QUICK[1:]
            # The message must name the key, a part of it, or the value.
            plain = value.strip("'${}")[:30]
            names = (key, key.rpartition(".")[0] or key, key.rpartition(".")[2], *([plain] if plain else []))
            where = () if key == "outputs" else ("outputs=outputs",)
            yield Bad(
                f"{key} is {VALUES[value]}",
                ("run", word, *limit, *draws, *where),
                names=names,
                may_pass=True,
                seconds=200 if key == "compile" else 20,  # it starts a C compiler
                changing=("{work}", "{home}") if key in ("outputs", "cache_dir") else (),
            )


GRAMMAR = {
    "nothing": ("=",),
    "only a key": ("lam=",),
    "no key": ("=1",),
    "unknown key": ("nothing=1",),
    "unknown key with a dot": ("lam.x=1",),
    "key of dots": ("...=1",),
    "an added key": ("+new=1",),
    "a forced key": ("++lam=2",),
    "a removed key": ("~lam",),
    "a removed group": ("~model",),
    "a group that is not there": ("model=nothing",),
    "a group with a path": ("model=../../etc/passwd",),
    "a group as an absolute path": ("data=/etc/passwd",),
    "a group twice": ("model=demo_hubert_bert", "model=demo_beats_vit"),
    "a group as a list": ("model=[demo_hubert_bert,demo_beats_vit]",),
    "a key twice": ("lam=0.1", "lam=nan"),
    "a mapping for the model": ("model={a:1}",),
    "an open bracket": ("lam=[0.1",),
    "an open quote": ("data.name='x",),
    "an open interpolation": ("data.name=${lam",),
    "an interpolation of itself": ("data.name=${data.name}",),
    "an interpolation in a circle": ("data.name=${data.note}", "data.note=${data.name}"),
    "an unknown resolver": ("data.name=${torture:1}",),
    "a package": ("model@other=demo_hubert_bert",),
    "an endless range": ("--multirun", "lam=range(0,1e9,0.1)"),
    "a long range": ("--multirun", "seed=range(0,1000000000)"),
    "a range without steps": ("--multirun", "seed=range(0,10,0)"),
    "a range that needs a product": ("--multirun", "seed=range(0,100000)", "lam=range(0,1,0.00001)"),
    "an empty choice": ("--multirun", "lam=choice()"),
    "a glob": ("--multirun", "model=glob(*)"),
    "an interval": ("--multirun", "lam=interval(0,1)"),
    "a sweep without multirun": ("lam=0,0.1",),
    "a sweep of nothing": ("--multirun", "lam=,"),
    "a sweep with a bad value": ("--multirun", "lam=0.1,x"),
    "a shuffled range": ("--multirun", "seed=shuffle(range(0,1000000000))"),
    "ten thousand values": ("--multirun", "seed=" + ",".join(map(str, range(10_000)))),
    "a thousand words": tuple(f"study.axes.k{i}=1" for i in range(1000)),
    "a deep list": ("study.axes.lam=" + "[" * 500 + "]" * 500,),
    "a very deep list": ("study.axes.lam=" + "[" * 20_000 + "]" * 20_000,),
    "a huge axis": ("+study.axes.seed=" + "[" + ",".join(map(str, range(20_000))) + "]",),
    "an axis of an unknown key": ("+study.axes.nothing=[1,2]",),
    "an axis that is a text": ("+study.axes.lam=x",),
    "an axis without values": ("+study.axes.lam=[]",),
    "an axis of NaN": ("+study.axes.lam=[nan]",),
    "an arm that is a number": ("+study.arms.x=1",),
    "pairs of one": ("study.pairs=[[a]]",),
    "pairs that are no pairs": ("study.pairs=[1,2]",),
    "a hydra key": ("hydra.run.dir=/tmp/elsewhere",),
    "a hydra job key": ("hydra.job.chdir=true",),
    "a hydra launcher that is not there": ("hydra/launcher=nothing",),
    "a hydra sweeper": ("hydra/sweeper=nothing",),
    "a launcher of zero jobs": ("--multirun", "lam=0.1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"),
    "an unknown flag": ("--nothing",),
    "a flag with a value": ("--multirun=3",),
    "a word": ("nothing",),
    "an empty word": ("",),
    "a blank": (" ",),
    "a newline": ("\n",),
    "escape codes as a word": ("\x1b[2Jx",),
    "escape codes as a key": ("\x1b[2Jx=1",),
    "a long word": (LONG,),
    "a long key": (f"{LONG}=1",),
    "bytes that are no UTF-8": ("\udcff\udcfe=1",),
    "unicode as a key": ("λ=0.1",),
    "cfg of nothing": ("--cfg", "nothing"),
    "cfg without a value": ("--cfg",),
    "info of nothing": ("--info", "nothing"),
    "package without cfg": ("--package", "x"),
    "help of nothing": ("--help", "nothing_there"),
    "help of a long word": ("--help", LONG),
    "help of escape codes": ("--help", "\x1b[31m"),
    "config-dir without a folder": ("--config-dir",),
    "config-dir empty": ("--config-dir=",),
    "config-dir that is not there": ("--config-dir", "nothing"),
    "config-dir that is a file": ("--config-dir", "/etc/passwd"),
    "config-dir that is a device": ("--config-dir", "/dev/zero"),
    "searchpath that is a text": ("hydra.searchpath=x",),
    "searchpath of an unknown scheme": ("hydra.searchpath=[http://x]",),
    "searchpath of no package": ("hydra.searchpath=[pkg://nothing.there]",),
    "searchpath of a null": ("hydra.searchpath=[null]",),
}


def of_grammar() -> Iterator[Bad]:
    """Yield words that no configuration understands, or that mean far too much."""
    passes = ("a key twice", "a group twice", "ten thousand values")
    for name, words in GRAMMAR.items():
        yield Bad(f"words: {name}", ("run", *words, *QUICK), may_pass=name.startswith(passes) and name != passes[0])
    for name in ("a bad value", "an unknown key", "a data key"):
        word = {"a bad value": "lam=2", "an unknown key": "nothing=1", "a data key": "data.limit=1"}[name]
        for verb in ("inspect", "merge"):
            yield Bad(
                f"words: {verb} with {name}", (verb, word, *(["out=x"] if verb == "merge" else [])), names=(word,)
            )


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 108 bytes
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


def _secret(path: Path) -> None:
    path.with_name("secret").write_text(f"{SECRET}: [\n")
    path.symlink_to(path.with_name("secret"))


IRREGULAR: dict[str, Callable[[Path], object]] = {
    "a pipe": _fifo,
    "a socket": _socket,
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "empty": lambda path: path.write_bytes(b""),
}
YAML = {
    "a bomb": BOMB,
    "a bomb as the study": BOMB.replace("b11: &a12", "study: &a12"),
    "an open quote": 'name: "x\n',
    "a tab": "a:\n\tb: 1\n",
    "a list": "- 1\n- 2\n",
    "a scalar": "just text\n",
    "a number": "42\n",
    "a duplicate key": "lam: 0.1\nlam: 0.2\n",
    "a Python tag": f"lam: !!python/object/apply:os.system ['echo {SECRET}']\n",
    "an unknown tag": "lam: !nothing 1\n",
    "a key that is a list": "[1, 2]: 3\n",
    "a key that is a number": "1: 2\n",
    "a null key": "null: 2\n",
    "deep": "a: " + "[" * 3000 + "]" * 3000 + "\n",
    "deep mappings": "\n".join(f"{' ' * depth}a:" for depth in range(600)) + " 1\n",
    "not finite": "lam: .nan\n",
    "huge": "lam: " + "9" * 5000 + "\n",
    "several documents": "lam: 0.1\n---\nlam: 0.2\n",
    "escape codes": '"\\e[31mx\\a": 1\n',
    "defaults of itself": "defaults: [mine]\n",
    "defaults that are a text": "defaults: x\n",
    "defaults that are a mapping": "defaults: {a: 1}\n",
    "defaults of a number": "defaults: [1]\n",
    "defaults upwards": "defaults: [../../../../etc/passwd]\n",
    "an interpolation of itself": "lam: ${lam}\n",
    "an unknown resolver": "lam: ${torture:x}\n",
    "the environment": "lam: ${oc.env:TORTURE_NOTHING}\n",
    "an unknown key": "nothing_at_all: 1\n",
    "a hydra node": "hydra: {run: {dir: /tmp/elsewhere}}\n",
    "an anchor of itself": "a: &a [*a]\n",
    "a merge key": "a: &a {lam: 0.1}\n<<: *a\nlam: 7\n",
    "UTF-16": "lam: 0.1\n".encode("utf-16").decode("latin-1"),
    "latin-1": "name: \xe9\n",
    "a NUL": "lam: \x00\n",
    "a BOM and an error": "\ufefflam: [\n",
    "half a megabyte": "# " + "x" * 500_000 + "\nnothing_there: 1\n",
}


def of_files() -> Iterator[Bad]:
    """Yield configuration files of the user's own: broken, irregular, hostile."""
    words = ("run", "--config-dir", "{in}/conf", "+experiment=mine" if False else "experiment=mine", *QUICK)
    passes = ("a merge key", "a duplicate key", "a hydra node")
    for name, text in YAML.items():

        def prepare(place: Place, text: str = text) -> None:
            folder = place.inputs / "conf" / "experiment"
            folder.mkdir(parents=True)
            content = "# @package _global_\n" + text
            (folder / "mine.yaml").write_bytes(
                content.encode("latin-1" if "\xe9" in text or "\xff" in text else "utf-8")
            )

        yield Bad(f"configuration file: {name}", words, prepare, names=("mine", "lam="), may_pass=name in passes)
    for name, make in IRREGULAR.items():

        def place_it(place: Place, make: Callable[[Path], object] = make) -> None:
            folder = place.inputs / "conf" / "experiment"
            folder.mkdir(parents=True)
            make(folder / "mine.yaml")

        yield Bad(f"configuration file is {name}", words, place_it, names=("mine",), may_pass=name == "empty")

        def as_folder(place: Place, make: Callable[[Path], object] = make) -> None:
            make(place.inputs / "conf")

        if name not in ("a folder",):
            yield Bad(f"folder of configurations is {name}", words, as_folder, names=("conf",))
    for verb in ("list", "inspect", "run"):
        words_of = {"list": ("models",), "inspect": ("model=mine",), "run": ("model=mine", "--help", "model")}[verb]

        def bomb(place: Place) -> None:
            (place.inputs / "conf" / "model").mkdir(parents=True)
            (place.inputs / "conf" / "model" / "mine.yaml").write_text(BOMB)

        yield Bad(f"a bomb for {verb}", (verb, "--config-dir", "{in}/conf", *words_of), bomb, may_pass=True)


def rows() -> list[Bad]:
    """Return the whole table; names of cases have no control characters."""
    return [*of_keys(), *of_grammar(), *of_files()]


def is_printable(name: str) -> bool:
    """Return whether a case can be named on a terminal."""
    return re.search(r"[\x00-\x1f]", name) is None
