"""Bad folders of runs and caches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.torture.cases import Bad
from scripts.torture.verbs import with_run
from scripts.torture.words import BOMB, IRREGULAR
from scripts.torture.world import QUICK, Place

ODD: tuple[Any, ...] = (None, 0, -1, 2**63, 1e308, float("nan"), True, "", "\x1b[31mred", [], {}, "x" * 5000)
READERS: dict[str, tuple[str, ...]] = {
    "score": ("score", "{in}/run"),
    "ls": ("ls", "{in}"),
    "report": ("report", "{in}", "out={work}/report"),
    "compare": ("compare", "{in}/run", "{in}/other"),
    "export": ("export", "{in}/run", "{work}/exported"),
}
CHANGING = ("{work}/report", "{work}/exported", "{in}/run")
FILES = (
    "result.json",
    "predictions.jsonl",
    "baseline.jsonl",
    "lambda.csv",
    "attention.csv",
    ".hydra/config.yaml",
    "mam.log",
)


def _edit(path: Path, place: tuple[str | int, ...], value: Any, removes: bool) -> None:
    tree = json.loads(path.read_text(encoding="utf-8"))
    node = tree
    for step in place[:-1]:
        node = node[step]
    if removes:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    path.write_text(json.dumps(tree), encoding="utf-8")


# Places in the result.json of a demo run; kept here, so that the table needs no run.
TOP = [
    "schema",
    "signature",
    "hash",
    "status",
    "command",
    "task",
    "model",
    "data",
    "merge",
    "train",
    "tune",
    "metrics",
    "baseline",
    "delta",
    "diagnostics",
    "timing",
    "env",
    "seeds",
    "head",
    "dev",
    "remarks",
]
DEEP = [
    "model.name",
    "model.target",
    "model.target.id",
    "model.target.sha256",
    "model.source.revision",
    "data.name",
    "data.n",
    "data.split",
    "data.normalizer",
    "data.metric",
    "data.language",
    "merge.lam",
    "merge.layers",
    "merge.method",
    "merge.control",
    "merge.parts",
    "merge.draws",
    "merge.pairs",
    "merge.align",
    "metrics.wer",
    "metrics.words",
    "metrics.substitutions",
    "metrics.insertions",
    "metrics.cer",
    "baseline.wer",
    "baseline.kind",
    "delta.absolute",
    "delta.ci95",
    "delta.p_value",
    "delta.relative",
    "delta.clusters",
    "timing.load",
    "timing.rtfx",
    "env.python",
    "env.code",
    "env.code.sha256",
    "env.threads",
    "seeds.bootstrap",
    "merge.asked",
    "merge.asked.lam",
]


def of_results() -> Iterator[Bad]:
    """Yield a result.json with each field removed, of a wrong type, or impossible."""
    verbs = list(READERS)
    for number, dotted in enumerate((*TOP, *DEEP)):
        place_of = tuple(dotted.split("."))
        values = [ODD[(number * 5 + step * 3) % len(ODD)] for step in range(3)]
        for step, value in enumerate(("removed", *values)):
            removes = step == 0

            def prepare(
                place: Place, at: tuple[str, ...] = place_of, value: Any = value, removes: bool = removes
            ) -> None:
                path = with_run(place) / "result.json"
                with_run(place, "other")
                try:
                    _edit(path, at, value, removes)
                except (KeyError, TypeError):  # this version writes no such field
                    path.write_text("{}")

            verb = verbs[(number + step) % len(verbs)]
            shown = "removed" if removes else json.dumps(value)[:20]
            yield Bad(
                f"result.json: {dotted} {shown} for {verb}", READERS[verb], prepare, may_pass=True, changing=CHANGING
            )


def of_run_files() -> Iterator[Bad]:
    """Yield files of a run that are cut, ragged, irregular or hostile."""
    texts: dict[str, Callable[[bytes], bytes]] = {
        "cut": lambda old: old[: len(old) * 2 // 3],
        "empty": lambda old: b"",
        "ragged": lambda old: old + b'{"id": 1}\n[2]\n',
        "binary": lambda old: bytes(range(256)),
        "deep": lambda old: b"[" * 200_000,
        "deep objects": lambda old: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "NaN": lambda old: b'{"id": NaN}\n',
        "huge numbers": lambda old: b'{"id": ' + b"9" * 10_000 + b"}\n",
        "1e999": lambda old: b'{"id": 1e999, "schema": 1e999}\n',
        "a bomb": lambda old: BOMB.encode(),
        "a Python tag": lambda old: b"!!python/object/apply:os.system ['touch code_was_run']\n",
        "UTF-16": lambda old: old.decode().encode("utf-16"),
        "other ends of lines": lambda old: old.replace(b"\n", b"\r\n"),
        "twice": lambda old: old + old,
        "escape codes": lambda old: old.replace(b'"id": "', b'"id": "\\u001b[31m'),
        "lone surrogates": lambda old: old.replace(b'"id": "', b'"id": "\\ud800'),
        "a list": lambda old: b"[1, 2]\n",
        "null": lambda old: b"null\n",
    }
    verbs = list(READERS)
    number = 0
    for name in FILES:
        for what, change in texts.items():

            def prepare(place: Place, name: str = name, change: Callable[[bytes], bytes] = change) -> None:
                path = with_run(place) / name
                with_run(place, "other")
                path.write_bytes(change(path.read_bytes()))

            for verb in (verbs[number % 5], verbs[(number + 2) % 5]):
                yield Bad(f"{name} {what} for {verb}", READERS[verb], prepare, may_pass=True, changing=CHANGING)
            number += 1
        for what, make in IRREGULAR.items():

            def irregular(place: Place, name: str = name, make: Callable[[Path], object] = make) -> None:
                path = with_run(place) / name
                with_run(place, "other")
                path.unlink()
                make(path)

            for verb in (verbs[number % 5], verbs[(number + 3) % 5]):
                yield Bad(f"{name} is {what} for {verb}", READERS[verb], irregular, may_pass=True, changing=CHANGING)
            number += 1
    yield from _among_outputs()


def _among_outputs() -> Iterator[Bad]:
    """Yield damaged runs among the outputs in which a command looks for finished ones."""
    for name in ("result.json", "predictions.jsonl", ".hydra/config.yaml"):
        for what, make in IRREGULAR.items():

            def prepare(place: Place, name: str = name, make: Callable[[Path], object] = make) -> None:
                shutil.copytree(place.world.finished("run", "run", *QUICK), place.outputs)
                path = next(place.outputs.rglob("result.json")).parent / name
                path.unlink()
                make(path)

            yield Bad(f"the same run again where {name} is {what}", ("run", *QUICK), prepare, may_pass=True)


def of_caches() -> Iterator[Bad]:
    """Yield caches that are damaged, irregular, or a folder of the user's own."""

    def users(place: Place) -> None:
        for name in (
            "ESC-50-master/audio/1.wav",
            "audio/1.wav",
            "audio/mine/2.wav",
            "states/thesis.tex",
            "baselines/notes.txt",
            "x.json",
        ):
            path = place.inputs / "own" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"mine" * 1000)

    for words in (
        ("cache", "clear"),
        ("cache", "info"),
        ("run", *QUICK),
        ("run", *QUICK, "evaluate.cache_gb=0.000001"),
    ):
        name = f"cache_dir is a folder of the user's own: {' '.join(words)}"
        yield Bad(name, (*words, "cache_dir={in}/own"), users, may_pass=True, may_add=words[0] == "run")
    asked: dict[str, tuple[str, ...]] = {"run": ("run", *QUICK), "info": ("cache", "info"), "clear": ("cache", "clear")}
    for verb, typed in asked.items():
        for what, make in IRREGULAR.items():

            def irregular(place: Place, make: Callable[[Path], object] = make) -> None:
                shutil.rmtree(place.cache)
                make(place.cache)

            yield Bad(f"{verb} where the cache is {what}", typed, irregular, may_pass=True)

            def kinds(place: Place, make: Callable[[Path], object] = make) -> None:
                for kind in ("baselines", "audio", "states"):
                    make(place.cache / kind)

            yield Bad(f"{verb} where each kind of cache is {what}", typed, kinds, may_pass=True)

            def entries(place: Place, make: Callable[[Path], object] = make) -> None:
                place.run("run", *QUICK)
                shutil.rmtree(place.outputs)
                for path in [path for path in place.cache.rglob("*") if path.is_file()]:
                    path.unlink()
                    make(path)

            yield Bad(f"{verb} where each entry of the cache is {what}", typed, entries, may_pass=True)
    for what, change in {
        "cut": lambda old: old[: len(old) // 2],
        "flipped": lambda old: old[:-9] + b"#" + old[-8:],
    }.items():

        def damaged(place: Place, change: Callable[[bytes], bytes] = change) -> None:
            place.run("run", *QUICK)
            shutil.rmtree(place.outputs)
            for path in [path for path in place.cache.rglob("*") if path.is_file() and path.suffix != ".lock"]:
                path.write_bytes(change(path.read_bytes()))

        yield Bad(f"each entry of the cache is {what}", ("run", *QUICK), damaged, must_pass=True)


def rows() -> list[Bad]:
    """Return the whole table."""
    return [*of_results(), *of_run_files(), *of_caches()]
