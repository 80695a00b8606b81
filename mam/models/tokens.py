"""The tokens of a CTC tokenizer as listed in its files, before they are interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mam.errors import CheckpointError, choices
from mam.models.checkpoints import Checkpoint
from mam.models.settings import read_settings

FILES = ("vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
CLASSES = ("Wav2Vec2CTCTokenizer", "Wav2Vec2Tokenizer")
WITH_LM = "Wav2Vec2ProcessorWithLM"
PHONEMES = "Wav2Vec2PhonemeCTCTokenizer"
DEFAULTS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
OTHERS = ("cls_token", "sep_token", "mask_token")
LISTS = ("additional_special_tokens", "extra_special_tokens")
DELIMITER = "word_delimiter_token"


@dataclass(frozen=True)
class Tokens:
    """The output of each token, and the tokens with a special role.

    ``letters`` are the tokens of vocab.json itself; ``outputs`` also has added tokens. ``marks`` are special tokens.
    ``delimiter`` is the one that the files name, or None; ``is_delimiter_null`` is true if they state that there is
    none.
    """

    outputs: dict[str, int]
    letters: tuple[str, ...]
    marks: frozenset[str]
    pad: str | None
    unknown: str | None
    delimiter: str | None
    is_delimiter_null: bool
    is_lowered: bool
    language: str | None


def read_tokens(checkpoint: Checkpoint) -> Tokens:
    """Read the tokenizer's files.

    Raises:
        CheckpointError: A file is missing or damaged, the tokenizer is of another kind, or files contradict each other.
    """
    folder, name = checkpoint.folder, checkpoint.id
    settings = read_settings(folder / "tokenizer_config.json")
    token_map = read_settings(folder / "special_tokens_map.json")
    kind = settings.get("tokenizer_class") or checkpoint.config.get("tokenizer_class") or ""
    _refuse_other_kinds(str(kind), name)
    language = _content(settings.get("target_lang"))
    vocabulary, is_nested = _vocabulary(checkpoint, language)
    listed_tokens = settings.get("added_tokens_decoder")
    listed_tokens = listed_tokens if isinstance(listed_tokens, dict) else None
    roles = settings if listed_tokens is not None else settings | token_map  # the precedence of transformers
    special = {key: _content(roles.get(key, default)) for key, default in DEFAULTS.items()}
    special |= {key: _content(roles.get(key)) for key in OTHERS}
    added: list[tuple[Any, Any]] = list(read_settings(folder / "added_tokens.json").items())
    if listed_tokens is not None:
        added = [(_content(token), _number(i)) for i, token in listed_tokens.items()]
    outputs = dict(vocabulary)
    taken = set(vocabulary.values())
    for token, output in added:
        if isinstance(token, str) and isinstance(output, int) and token not in outputs and output not in taken:
            outputs[token] = output
    for token in special.values():  # transformers numbers unlisted tokens in this way
        if token is not None and token not in outputs:
            outputs[token] = len(outputs)
    marks = {token for token in special.values() if token is not None}
    for key in LISTS:
        marks |= {token for token in map(_content, _listed(roles.get(key))) if token is not None}
    entries = (listed_tokens or {}).values()
    marks |= {str(entry["content"]) for entry in entries if isinstance(entry, dict) and entry.get("special")}
    delimiter = _delimiter(settings, token_map, name)
    return Tokens(
        outputs=outputs,
        letters=tuple(vocabulary),
        marks=frozenset(marks - {delimiter}),
        pad=special["pad_token"],
        unknown=special["unk_token"],
        delimiter=delimiter,
        is_delimiter_null=delimiter is None and any(DELIMITER in content for content in (settings, token_map)),
        is_lowered=bool(settings.get("do_lower_case", False)),
        language=language if is_nested else None,
    )


def has_language_model(folder: Path) -> bool:
    """Return whether the checkpoint has an n-gram language model (Wav2Vec2ProcessorWithLM)."""
    files = ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
    named = any(read_settings(folder / file).get("processor_class") == WITH_LM for file in files)
    return named or (folder / "language_model").is_dir()


def _refuse_other_kinds(kind: str, name: str) -> None:
    kind = kind.removesuffix("Fast")
    if kind == PHONEMES:
        raise CheckpointError(
            f"{name}: outputs phonemes ({kind}), which cannot be compared with transcripts. Use a checkpoint that was"
            " fine-tuned on letters."
        )
    if kind and kind not in CLASSES:
        raise CheckpointError(
            f"{name}: its tokenizer is a {kind}. mam supports letter-based CTC vocabularies ({choices(CLASSES[:1])})."
        )


def _vocabulary(checkpoint: Checkpoint, language: str | None) -> tuple[dict[str, int], bool]:
    """Return the outputs by token of vocab.json, and whether they are the part of a nested file for ``language``."""
    path, name = checkpoint.folder / "vocab.json", checkpoint.id
    if not path.is_file():
        raise CheckpointError(
            f"{name}: has no vocab.json, so its outputs cannot be decoded. Use a checkpoint that was fine-tuned"
            " for speech recognition, with its tokenizer."
        )
    content = read_settings(path)
    nested = {key: part for key, part in content.items() if isinstance(part, dict)}
    if nested:
        if language not in nested:
            raise CheckpointError(
                f"{name}: vocab.json has vocabularies for {len(nested)} languages, but target_lang in"
                f" tokenizer_config.json is {language!r}. Set it to the language whose adapter is in the weights:"
                f" {choices(list(nested)[:12])}{', ...' if len(nested) > 12 else ''}."
            )
        content = nested[language]
    wrong = [key for key, output in content.items() if type(output) is not int or output < 0 or not key]
    if wrong or not content:
        shown = f"{wrong[0]!r}: {content[wrong[0]]!r}" if wrong else "nothing"
        raise CheckpointError(f"{path}: must map tokens to output indices, but has {shown}.")
    by_output: dict[int, str] = {}
    for token, output in content.items():
        if output in by_output:
            raise CheckpointError(f"{path}: {by_output[output]!r} and {token!r} have the same index, {output}.")
        by_output[output] = token
    return content, bool(nested)


def _delimiter(settings: dict[str, Any], token_map: dict[str, Any], name: str) -> str | None:
    delimiters = [_content(content[DELIMITER]) for content in (settings, token_map) if DELIMITER in content]
    if len(set(delimiters)) > 1:
        raise CheckpointError(
            f"{name}: {DELIMITER} is {delimiters[0]!r} in tokenizer_config.json but {delimiters[1]!r} in"
            " special_tokens_map.json. Remove the wrong one."
        )
    return delimiters[0] if delimiters and delimiters[0] else None


def _content(token: object) -> str | None:
    """Return the text of a token, which files store as a string or as an object with ``content``."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _listed(tokens: object) -> list[object]:
    return list(tokens.values()) if isinstance(tokens, dict) else tokens if isinstance(tokens, list) else []


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1
