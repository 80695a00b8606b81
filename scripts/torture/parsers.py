"""Every reader of files with input that hypothesis makes up; any error but a MamError is a failure."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from scripts.torture import readers
from scripts.torture.cases import Case
from scripts.torture.strategies import as_json, as_safetensors, mutations
from scripts.torture.world import Place

KIND = "parsers"
Reader = Callable[[Path], object]


def _file(place: Place, name: str, read: Reader) -> Callable[[bytes], None]:
    """Return a check that writes bytes into a file among others and reads."""
    path = place.inputs / name
    path.parent.mkdir(parents=True, exist_ok=True)

    def check(content: bytes) -> None:
        path.write_bytes(content)
        read(path)

    return check


def _listing(name: str) -> Reader:
    def read(path: Path) -> object:
        import mam.data  # noqa: F401  # fill the registry
        from mam.config.data import DataConfig
        from mam.data.listing import list_folder

        root = next(folder for folder in path.parents if folder.name == "data")
        return list_folder(name, root, DataConfig(name="x", format=name, root=str(root)))

    return read


CSV = b'file_name,transcription,split,speaker\nclip0.wav,HELLO THERE,test,a\nclip1.wav,"ANNA, B",dev,b\n'
TABLES = [b"file_name", b"transcription", b"label", b"fold", b"split", b"id", b"clip0.wav", b"clip1.wav", b"test"]
LJ = b"clip0|Dr. No|Doctor No\nclip1|Yes|Yes\n"


def _data(place: Place) -> None:
    root = place.inputs / "data"
    for folder in (root, root / "wavs", root / "clips", root / "audio", root / "61" / "7"):
        folder.mkdir(parents=True, exist_ok=True)
        for clip in ("clip0.wav", "clip1.wav"):
            shutil.copy2(place.world.clips() / clip, folder / clip)
    (root / "text").write_text("a HELLO\nb ANNA\n")
    (root / "wav.scp").write_text("a clip0.wav\nb clip1.wav\n")


def _run(place: Place) -> Path:
    return place.copy(place.world.a_run(), "run")


def _checks() -> dict[str, Callable[[Place], tuple[Callable[[bytes], object], Any]]]:
    """Return by name what prepares a place and gives a check with a strategy of its input."""

    def listing(name: str, file: str, seeds: Sequence[bytes], tokens: Sequence[bytes] = TABLES) -> Any:
        def prepare(place: Place) -> Any:
            _data(place)
            return _file(place, f"data/{file}", _listing(name)), mutations(seeds, tokens)

        return prepare

    def record(file: str, read: str, is_json: bool) -> Any:
        def prepare(place: Place) -> Any:
            from mam.records import reading

            content = (_run(place) / file).read_bytes()
            lines = [json.loads(content)] if file.endswith(".json") else []
            strategy = (
                as_json(lines)
                if is_json
                else mutations([content], [b"{", b"}", b'"id"', b": ", b"- ", b"${", b"&a", b"*a", b"!!"])
            )
            return _file(place, f"run/{file}", lambda path: getattr(reading, read)(place.inputs / "run")), strategy

        return prepare

    def model(kind: str, file: str, read: Callable[[Path], object], is_json: bool = True) -> Any:
        def prepare(place: Place) -> Any:
            folder = place.copy(place.world.model(kind), "model")
            content = (folder / file).read_bytes() if (folder / file).is_file() else b"{}"
            strategy = as_json([json.loads(content)]) if is_json else as_safetensors(content)
            return _file(place, f"model/{file}", lambda path: read(place.inputs / "model")), strategy

        return prepare

    def text(read: Callable[[str], object], words: Sequence[str]) -> Any:
        def prepare(place: Place) -> Any:
            from hypothesis import strategies as st

            pieces = st.sampled_from(
                [*words, ",", "-", "=", "[", "]", "{", "}", "'", '"', "${", "}", " ", "\n", "\0", "1e999", "9" * 5000]
            )
            return read, st.lists(pieces | st.text(max_size=4), max_size=12).map("".join)

        return prepare

    return {
        "metadata.csv": listing("audiofolder", "metadata.csv", [CSV]),
        "metadata.tsv": listing("audiofolder", "metadata.tsv", [CSV.replace(b",", b"\t")]),
        "metadata.jsonl": listing(
            "audiofolder", "metadata.jsonl", [b'{"file_name": "clip0.wav", "transcription": "A", "split": "test"}\n']
        ),
        "labels in metadata.csv": listing(
            "audiofolder", "metadata.csv", [b"file_name,label,fold\nclip0.wav,dog,1\nclip1.wav,cat,2\n"]
        ),
        "LJ Speech": listing("ljspeech", "metadata.csv", [LJ]),
        "Kaldi's wav.scp": listing("kaldi", "wav.scp", [b"a clip0.wav\nb clip1.wav\n"]),
        "Kaldi's text": listing("kaldi", "text", [b"a HELLO\nb ANNA\n"]),
        "Kaldi's utt2spk": listing("kaldi", "utt2spk", [b"a x\nb y\n"]),
        "LibriSpeech": listing("librispeech", "61/7/61-7.trans.txt", [b"61-7-0000 HELLO\n61-7-0001 ANNA\n"]),
        "VCTK": listing("vctk", "txt/p1/p1_001.txt", [b"Please call Stella.\n"]),
        "ESC-50": listing(
            "esc50",
            "meta/esc50.csv",
            [b"filename,fold,target,category,esc10,src_file,take\nclip0.wav,1,0,dog,True,1,A\n"],
        ),
        "Common Voice": listing(
            "commonvoice", "test.tsv", [b"client_id\tpath\tsentence\tlocale\nx\tclip0.mp3\tHello\ten\n"]
        ),
        "result.json": record("result.json", "read_result", True),
        "result.json as bytes": record("result.json", "read_result", False),
        "predictions.jsonl": record("predictions.jsonl", "read_predictions", False),
        "config.yaml of a run": record(".hydra/config.yaml", "read_config", False),
        "config.json of hubert": model("hubert", "config.json", readers.source_and_target),
        "config.json of bert": model("bert", "config.json", readers.source),
        "config.json of vit": model("vit", "config.json", readers.source),
        "header of safetensors": model("bert", "model.safetensors", readers.headers, is_json=False),
        "index of safetensors": model("bert", "model.safetensors.index.json", readers.headers),
        "vocab.json": model("hubert", "vocab.json", readers.tokens),
        "tokenizer_config.json": model("hubert", "tokenizer_config.json", readers.tokens),
        "words of a command": text(
            readers.words,
            [
                "lam",
                "model",
                "data.root",
                "layers.spec",
                "+study.axes.lam",
                "~lam",
                "hydra",
                "0.1",
                "top2",
                "null",
                "range(0,3,0.1)",
                "choice(1,2)",
            ],
        ),
        "words of a sweep": text(
            lambda word: readers.words(word, True),
            ["lam", "seed", "control", "layers", "0.1", "shrink", "none", "range(1,3)"],
        ),
        "layers": text(readers.layers, ["top", "bottom", "middle", "all", "odd", "0", "5"]),
        "heads": text(readers.heads, ["all", "0", "3"]),
        "parts": text(readers.parts, ["q", "k", "v", "o"]),
        "plug-in names": text(readers.plugins, ["plugins=", "./x.py", "mine", ".", "..", "mam.", "os", "~"]),
        "jsonl": lambda place: (
            _file(place, "x.jsonl", readers.jsonl),
            mutations([b'{"id": "x"}\n'], [b"{", b"}", b'"a":']),
        ),
        "recordings": lambda place: (
            _file(place, "x.wav", readers.audio),
            mutations(readers.recordings_of(), [b"RIFF", b"fLaC", b"OggS", b"data", b"fmt "]),
        ),
        "normalizers": text(readers.normalized, ["Mr. ", "$5", "1,000", "can't", "½", "İ", "ß", "東京", "\u200d", "²"]),
        "language codes": text(readers.language, ["en", "eng", "EN_us", "zh-Hant", "x-"]),
    }


def cases(seed: int) -> list[Case]:
    """Return one case for every reader."""
    return [
        Case(KIND, name, partial(act, name, seed), is_quick=number % 4 == 0) for number, name in enumerate(_checks())
    ]


def act(name: str, seed: int, place: Place) -> list[str]:
    """Let hypothesis look for input on which a reader raises anything but a MamError."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded

    from mam.errors import MamError

    os.chdir(place.work)
    check, strategy = _checks()[name](place)
    failures: dict[str, str] = {}

    def attempt(content: Any) -> None:
        try:
            check(content)
        except MamError:
            return
        except Exception as error:  # collected by root, so that one fault does not hide others
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/mam/" in frame.filename]
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside of mam"
            key = f"{type(error).__name__} at {where}"
            kept = place.root / "failing" / str(list(failures).index(key) if key in failures else len(failures))
            if key not in failures or len(content) < kept.stat().st_size:
                kept.parent.mkdir(exist_ok=True)
                kept.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
                failures[key] = f"{key}: {str(error)[:150]} for {content[:150]!r} (failing/{kept.name} with --keep)"

    quiet = settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    seeded(seed)(quiet(given(strategy)(attempt)))()  # type: ignore[no-untyped-call]
    return list(failures.values())[:8]
