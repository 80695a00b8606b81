"""The pages of the documentation, as blocks to be followed; and what they take as given."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import soundfile
import torch
from transformers import LayoutLMConfig, LayoutLMModel, UniSpeechSatConfig, UniSpeechSatForCTC

from support.audio import noise

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"(?:New file `(?P<file>\S+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.DOTALL)
RECORDINGS = {"ann_1": "the door is open", "ann_2": "a red lamp", "bo_1": "the door is shut", "bo_2": "two green lamps"}


@dataclass(frozen=True)
class Block:
    """A fenced block; ``file`` is the name of the new file that it is the content of, or None."""

    file: str | None
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order; every fence of the page belongs to one."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = [Block(match["file"], match["language"], match["text"]) for match in BLOCK.finditer(text)]
    assert 2 * len(found) == len(re.findall("^```", text, re.M)), page
    assert text.count("New file `") == len([block for block in found if block.file]), page
    return found


def give(page: str) -> None:
    """Put into the working directory what a page says that its reader has: recordings, and checkpoints."""
    text = (DOCS / page).read_text(encoding="utf-8")
    if "root: recordings" in text:
        for number, name in enumerate(RECORDINGS):
            _record(Path(f"recordings/{name}.wav"), number)
    if page == "plugins.md":
        rows = [f"{name}.wav,{said}\n" for name, said in RECORDINGS.items()]
        Path("recordings/metadata.csv").write_text("".join(["file_name,transcription\n", *rows]))
    if "corridor/prompts.tsv" in text:
        for number, name in enumerate(("ann/1", "ann/2", "bo/3", "bo/4")):
            _record(Path(f"corridor/{name}.wav"), number)
    if "my-layoutlm" in text:
        sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
        LayoutLMModel(LayoutLMConfig(vocab_size=40, **sizes)).save_pretrained("my-layoutlm")
    if "my-unispeech-sat" in text:
        _unispeech_sat(Path("my-unispeech-sat"))


def _record(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(0.5, seed), 16000)


def _unispeech_sat(folder: Path) -> None:
    """A random model of the demo target's sizes, with the demo target's vocabulary."""
    with as_file(files("mam_demo") / "demo_hubert") as demo:
        config = json.loads((demo / "config.json").read_text())
        sizes = {key: value for key, value in config.items() if key not in ("model_type", "architectures", "dtype")}
        torch.manual_seed(0)
        UniSpeechSatForCTC(UniSpeechSatConfig(**sizes)).save_pretrained(folder)
        for name in ("vocab.json", "tokenizer_config.json", "processor_config.json"):
            shutil.copyfile(demo / name, folder / name)
