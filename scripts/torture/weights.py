"""Broken weights and hostile pickles."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.torture.cases import Bad
from scripts.torture.checkpoints import CHOSEN, SHAPE, copied, words_for
from scripts.torture.words import IRREGULAR
from scripts.torture.world import Place


def _evil(place: Place) -> bytes:
    """Return a pickle that makes a file where it is loaded."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {place.work}/code_was_run",))

    return pickle.dumps({"model": Evil(), "cfg": Evil()})


def _safetensors(header: Any, data: bytes = b"", claimed: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", (len(text) if claimed is None else claimed) % 2**64) + text + data


def _rewrite(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Place], None]:
    def apply(path: Path, place: Place) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})

    return apply


def _set_all(value: float) -> Callable[[dict[str, Any]], object]:
    return lambda tensors: [tensor.fill_(value) for tensor in tensors.values()]


def _bytes(make: Callable[[bytes], bytes]) -> Callable[[Path, Place], None]:

    def apply(path: Path, place: Place) -> None:
        path.write_bytes(make(path.read_bytes()))

    return apply


def _index(content: Any) -> Callable[[Path, Place], None]:
    def apply(path: Path, place: Place) -> None:
        path.rename(path.with_name("part.safetensors"))
        path.with_name("model.safetensors.index.json").write_text(
            content if isinstance(content, str) else json.dumps(content)
        )

    return apply


def _halved(tensors: dict[str, Any]) -> None:
    for name in list(tensors):
        tensors[name] = tensors[name].half()


def _code(path: Path, place: Place) -> None:
    path.write_bytes(_evil(place))


def _pickled(path: Path, place: Place) -> None:
    path.with_name("pytorch_model.bin").write_bytes(_evil(place))
    path.unlink()


def _renamed(path: Path, place: Place) -> None:
    path.with_name("pytorch_model.bin").write_text("x")
    path.unlink()


def _one(shape: list[int], dtype: str = "F32") -> Callable[[Path, Place], None]:
    return _bytes(lambda data: _safetensors({"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, 4]}}, bytes(4)))


def _first_rows(tensors: dict[str, Any]) -> None:
    tensors.update({name: tensor[:1].clone() for name, tensor in tensors.items() if tensor.ndim})


WEIGHTS: dict[str, Callable[[Path, Place], None]] = {
    "cut in half": _bytes(lambda data: data[: len(data) // 2]),
    "cut by a byte": _bytes(lambda data: data[:-1]),
    "seven bytes": _bytes(lambda data: data[:7]),
    "one bit flipped in the header": _bytes(lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:]),
    "a header of 2**63 bytes": _bytes(lambda data: _safetensors({}, claimed=2**63)),
    "a header of 2**40 bytes": _bytes(lambda data: _safetensors({}, claimed=2**40)),
    "a header of 100 MB": _bytes(lambda data: _safetensors(b"{" + b" " * 99_999_990 + b"}")),
    "a header that is no JSON": _bytes(lambda data: _safetensors(b"nothing")),
    "a header that is a list": _bytes(lambda data: _safetensors([1])),
    "a deep header": _bytes(lambda data: _safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    "no tensors": _bytes(lambda data: _safetensors({})),
    "one tensor": _one([1]),
    "a huge shape": _one([2**40]),
    "a negative shape": _one([-1]),
    "an unknown dtype": _one([1], "Q9"),
    "NaN": _rewrite(_set_all(float("nan"))),
    "infinity": _rewrite(_set_all(float("inf"))),
    "zeros": _rewrite(_set_all(0.0)),
    "3e38": _rewrite(_set_all(3e38)),
    "float16": _rewrite(_halved),
    "a third of the tensors": _rewrite(lambda tensors: [tensors.pop(name) for name in sorted(tensors)[::3]]),
    "a tensor too many": _rewrite(lambda tensors: tensors.update(torture=next(iter(tensors.values())).clone())),
    "other shapes": _rewrite(_first_rows),
    "integers": _rewrite(lambda tensors: tensors.update({name: tensor.int() for name, tensor in tensors.items()})),
    "a pickle with code": _code,
    "a pickle with code as pytorch_model.bin": _pickled,
    "text as pytorch_model.bin": _renamed,
    "an empty weight_map": _index({"weight_map": {}}),
    "no weight_map": _index({}),
    "a weight_map that is a list": _index({"weight_map": [1]}),
    "a weight_map of numbers": _index({"weight_map": {"a": 1}}),
    "a weight_map upwards": _index({"weight_map": {"a": "../../../../etc/passwd"}}),
    "an absolute weight_map": _index({"weight_map": {"a": "/etc/passwd"}}),
    "a weight_map to nothing": _index({"weight_map": {"a": "nothing.safetensors"}}),
    "a weight_map of a device": _index({"weight_map": {"a": "/dev/zero"}}),
    "an index that is no JSON": _index("nothing"),
    "a deep index": _index("[" * 100_000),
    "no weights": lambda path, place: path.unlink(),
}
HARMLESS = ("zeros", "3e38", "float16", "a tensor too many")


def of_weights() -> Iterator[Bad]:
    """Yield broken weights on both sides, for verbs that read them."""
    for kind in ("hubert", "bert"):
        for what, change in WEIGHTS.items():

            def prepare(place: Place, kind: str = kind, change: Callable[[Path, Place], None] = change) -> None:
                change(copied(place, kind) / "model.safetensors", place)

            fine = what in HARMLESS or (kind == "bert" and what in ("a third of the tensors", "3e38", "integers"))
            yield Bad(f"weights of {kind}: {what}", words_for(kind), prepare, may_pass=fine, names=("model", "layer"))
            if kind == "bert":
                side = (*SHAPE, "model.source={in}/model", "on_mismatch=project")
                yield Bad(f"inspect weights: {what}", ("inspect", *side), prepare, may_pass=True)
                yield Bad(
                    f"merge weights: {what}",
                    ("merge", *side, "out={work}/merged"),
                    prepare,
                    may_pass=True,
                    changing=("{work}/merged",),
                )
        for name in ("model.safetensors", "config.json", "vocab.json", "preprocessor_config.json"):
            for what, make in IRREGULAR.items():

                def irregular(
                    place: Place, kind: str = kind, make: Callable[[Path], object] = make, name: str = name
                ) -> None:
                    path = copied(place, kind) / name
                    path.unlink(missing_ok=True)
                    make(path)

                fine = name in ("vocab.json", "preprocessor_config.json")
                yield Bad(
                    f"{name} of {kind} is {what}",
                    words_for(kind),
                    irregular,
                    may_pass=fine,
                    names=("model",),
                    seconds=30,
                )
    for what, make_pickle in {
        "code": _evil,
        "text": lambda place: b"text",
        "nothing": lambda place: b"",
        "a pickle of a list": lambda place: pickle.dumps([1]),
        "a pickle bomb": lambda place: b"\x80\x04" + b"]" * 100 + b"\x8c\x01x2" * 1000,
        "a zip of nothing": lambda place: b"PK\x05\x06" + bytes(18),
        "a zip cut": lambda place: (place.world.model("beats") / "beats.pt").read_bytes()[:-5000],
    }.items():

        def beats(place: Place, make: Callable[[Place], bytes] = make_pickle) -> None:
            (copied(place, "beats") / "beats.pt").write_bytes(make(place))

        yield Bad(f"BEATs: {what}", words_for("beats"), beats, names=("beats.pt",))
    for key, values in CHOSEN["beats"].items():
        for value in values:

            def settings(place: Place, key: str = key, value: Any = value) -> None:
                import torch

                path = copied(place, "beats") / "beats.pt"
                saved = torch.load(path, weights_only=True)
                saved["cfg"][key] = value
                torch.save(saved, path)

            yield Bad(f"BEATs: {key} is {value}", words_for("beats"), settings, may_pass=True)


def rows() -> list[Bad]:
    """Return the whole table."""
    return list(of_weights())
