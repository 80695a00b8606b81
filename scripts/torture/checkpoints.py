"""Bad checkpoints: every key of config.json with odd values, broken weights, hostile pickles, odd vocabularies."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.torture.cases import Bad
from scripts.torture.words import IRREGULAR
from scripts.torture.world import QUICK, Place

ODD_VALUES: tuple[Any, ...] = (
    None,
    0,
    -1,
    10**9,
    2**63,
    1.5,
    float("nan"),
    1e308,
    True,
    "",
    "x",
    "\x1b[31mred",
    [],
    [0] * 7,
    [10**9] * 7,
    {},
    [[]],
)
CHOSEN: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
SHAPE = ("model.target_shape.width=null", "model.target_shape.layers=null", "model.target_shape.heads=null")
SHAPE += tuple(word.replace("target", "source") for word in SHAPE)


def words_for(kind: str) -> tuple[str, ...]:
    """Return the words of a command that reads the model of a kind in ``in/model``."""
    sides = {
        "hubert": ("model.target={in}/model", "on_mismatch=project"),
        "whisper": (
            "model=whisper_minilm",
            "model.target={in}/model",
            "model.source=asset:demo_bert",
            "on_mismatch=project",
        ),
        "bert": ("model.source={in}/model", "on_mismatch=project"),
        "vit": ("model.source={in}/model", "on_mismatch=project"),
        "beats": ("model=demo_beats_vit", "model.target={in}/model/beats.pt", "on_mismatch=project"),
        "ast": ("model=ast_vit", "model.target={in}/model", "model.source=asset:demo_vit", "on_mismatch=project"),
    }[kind]
    data = ("data=demo_speech", *QUICK) if kind not in ("beats", "ast") else ("data=demo_sounds", "data.fold=1")
    return ("run", *sides, *SHAPE, *data)


def copied(place: Place, kind: str) -> Path:
    """Copy a tiny checkpoint into ``in/model``."""
    return place.copy(place.world.model(kind), "model")


def _with(kind: str, key: str, value: Any, name: str = "config.json") -> Callable[[Place], None]:
    def prepare(place: Place) -> None:
        path = copied(place, kind) / name
        content = json.loads(path.read_text())
        content[key] = value
        path.write_text(json.dumps(content))

    return prepare


def _keys(kind: str) -> list[str]:
    """Return the keys of a config that are worth an attack."""
    from transformers import BertConfig, HubertConfig, ViTConfig, WhisperConfig

    made = {"hubert": HubertConfig, "whisper": WhisperConfig, "bert": BertConfig, "vit": ViTConfig}[kind]()
    dull = ("transformers_version", "_name_or_path", "torch_dtype")
    return sorted(
        key for key in {*made.to_dict(), "architectures", "dtype", "auto_map", "quantization_config"} if key not in dull
    )


def of_configs() -> Iterator[Bad]:
    """Yield every key of a config.json with an odd value or two, in turn."""
    for kind, count in (("hubert", 2), ("whisper", 2), ("bert", 3), ("vit", 3)):
        for number, key in enumerate(_keys(kind)):
            for step in range(count):
                value = ODD_VALUES[(number * 3 + step * 7) % len(ODD_VALUES)]
                shown = json.dumps(value)[:20]
                yield Bad(f"{kind}: {key} is {shown}", words_for(kind), _with(kind, key, value), may_pass=True)
    for kind, keys in CHOSEN["configs"].items():
        for key, values in keys.items():
            for value in values:
                name = f"{kind}: chosen {key} is {json.dumps(value)[:24]}"
                yield Bad(name, words_for(kind), _with(kind, key, value), may_pass=True)
    for kind, key in (
        ("hubert", "num_hidden_layers"),
        ("hubert", "hidden_size"),
        ("bert", "num_hidden_layers"),
        ("bert", "hidden_size"),
    ):
        for verb in ("inspect", "merge"):
            side = "model.target={in}/model" if kind == "hubert" else "model.source={in}/model"
            words = (verb, side, *SHAPE, *(("out={work}/merged",) if verb == "merge" else ()))
            yield Bad(f"{verb}: {kind} with {key} 10**9", words, _with(kind, key, 10**9), may_pass=False)


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
    return lambda path, place: path.write_bytes(make(path.read_bytes())) and None


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
    "a pickle with code": lambda path, place: path.write_bytes(_evil(place)) and None,
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
HARMLESS = ("zeros", "float16", "a tensor too many")


def of_weights() -> Iterator[Bad]:
    """Yield broken weights on both sides, for verbs that read them."""
    for kind in ("hubert", "bert"):
        for what, change in WEIGHTS.items():

            def prepare(place: Place, kind: str = kind, change: Callable[[Path, Place], None] = change) -> None:
                change(copied(place, kind) / "model.safetensors", place)

            fine = what in HARMLESS or (kind == "bert" and what in ("a third of the tensors", "3e38", "integers"))
            yield Bad(f"weights of {kind}: {what}", words_for(kind), prepare, may_pass=fine, names=("model",))
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


def of_other_files() -> Iterator[Bad]:
    """Yield vocabularies, tokenizers and settings that are broken or absurd."""
    for kind, files in CHOSEN["files"].items():
        for name, texts in files.items():
            for number, text in enumerate(texts):

                def prepare(place: Place, kind: str = kind, name: str = name, text: str = text) -> None:
                    (copied(place, kind) / name).write_text(
                        text.replace("@deep", "[" * 100_000).replace("@long", "1" * 5000)
                    )

                yield Bad(f"{name} of {kind}, {number}: {text[:40]!r}", words_for(kind), prepare, may_pass=True)


def rows() -> list[Bad]:
    """Return the whole table."""
    return [*of_configs(), *of_weights(), *of_other_files()]
