"""The readers of files and of words that the package has, each as a function of one argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def located(folder: Path) -> Any:
    from mam.models.locate import locate

    return locate(str(folder))


def source(folder: Path) -> object:
    from mam.models.sources import Source

    return Source(located(folder)).shape


def source_and_target(folder: Path) -> object:
    from mam.config.model import ModelConfig
    from mam.config.schema import Config
    from mam.evaluation.model_pair import checked_parents

    pair = ModelConfig(name="x", target=str(folder), source="asset:demo_bert", task="asr")
    return checked_parents(Config(model=pair))


def headers(folder: Path) -> object:
    checkpoint = located(folder)
    return checkpoint.headers, checkpoint.parameters, checkpoint.fingerprint


def tokens(folder: Path) -> object:
    from mam.models.tokens import read_tokens

    return read_tokens(located(folder))


def words(word: str, multirun: bool = False) -> object:
    from mam.config.compose import jobs

    return jobs([word.replace("\0", "")], multirun)


def layers(spec: str) -> object:
    from mam.merging.selection import is_selection, parse_layers

    return is_selection(spec), parse_layers(spec, 12)


def heads(spec: str) -> object:
    from mam.merging.selection import parse_heads

    return parse_heads(spec, 12)


def parts(spec: str) -> object:
    from mam.merging.selection import parse_parts

    return parse_parts(spec)


def plugins(word: str) -> object:
    from mam.config.words import listed
    from mam.extensions import use

    return use(listed(f"plugins=[{word}]"))


def jsonl(path: Path) -> object:
    from mam.small_files import read_jsonl

    return read_jsonl(path)


def audio(path: Path) -> object:
    from mam.data.audio import read

    return read(path, 16000, "x"), read(path.read_bytes(), 16000, "x")


def recordings_of() -> list[bytes]:
    from scripts.torture import recordings

    return [
        recordings.wave(400),
        recordings.encoded("FLAC", samples=400),
        recordings.encoded("OGG", "VORBIS", samples=400),
    ]


def normalized(text: str) -> object:
    from mam.scoring.text import NORMALIZERS, normalizer_for

    return [normalizer_for(name, language)(text) for name in NORMALIZERS for language in (None, "de", "ja")]


def language(text: str) -> object:
    from mam.scoring.language_codes import tag_of, whisper_code

    return tag_of(text), whisper_code(text)
