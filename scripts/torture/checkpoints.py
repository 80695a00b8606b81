"""Bad checkpoints: every key of config.json with odd values, broken weights, hostile pickles, odd vocabularies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.torture.cases import Bad
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
SHAPE = tuple(f"model.{side}_shape.{key}=null" for side in ("target", "source") for key in ("width", "layers", "heads"))


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
    for kind, count in (("hubert", 2), ("whisper", 1), ("bert", 2), ("vit", 2)):
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
    return [*of_configs(), *of_other_files()]
