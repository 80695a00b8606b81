"""The page on one's own recordings: its tables are written, and its commands run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile
from support.audio import noise
from support.hub import write_part
from support.runs import mam

from mam.data.columns import USUAL

PAGE = (Path(__file__).parents[1] / "docs" / "your-data.md").read_text()
TABLES = re.compile(r"`([\w/.]+)`:\n\n```text\n(.*?)```", re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.strip().splitlines()]
HERE = [line for line in COMMANDS if "# needs the hub" not in line]
EXAMPLES = {  # what a run of each command says of its data
    "data.split=all data.clusters": "4 examples",
    "data.metadata": "2 examples",
    "data.ids.test": "2 examples",
    "data.limit": "2 examples",
    "data=audiofolder data.root=recordings": "3 examples",
    "data=hub": "2 examples",
    "data=commonvoice": "2 examples",
    "data=kaldi": "2 examples",
}


def record(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(0.6, seed), 16000)
    return path


@pytest.fixture
def places() -> None:
    """The folders of the page in the working directory."""
    for name, content in TABLES.findall(PAGE):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    clips = [record(Path(f"recordings/clips/{name}.wav"), i) for i, name in enumerate(("a1", "a2", "b1", "b2"))]
    write_part(Path("copy/data/test-0.parquet"), clips[:2], text=["GOOD", "MORNING"])
    rows = "".join(
        f"speaker{i}\tc{i}.mp3\tbuongiorno\n" for i in range(2) if record(Path(f"cv-corpus/it/clips/c{i}.mp3"), i)
    )
    Path("cv-corpus/it/test.tsv").write_text(f"client_id\tpath\tsentence\n{rows}")
    Path("kaldi/test").mkdir(parents=True)
    Path("kaldi/test/wav.scp").write_text(f"a1 {clips[0].resolve()}\nb1 {clips[2].resolve()}\n")
    Path("kaldi/test/text").write_text("a1 GOOD MORNING\nb1 GOOD MORNING\n")
    Path("kaldi/test/utt2spk").write_text("a1 ann\nb1 bob\n")


def test_the_tables_and_commands_are_found():
    assert [name for name, _ in TABLES.findall(PAGE)] == ["recordings/metadata.tsv", "ids.txt", "list.csv"]
    assert len(COMMANDS) == 11 and len(HERE) == 8


@pytest.mark.parametrize("command", HERE)
def test_a_command_runs_as_it_stands(command, places):
    name, *words = command.partition("#")[0].split()
    assert name == "mam"
    shown = mam(*words)
    assert shown.returncode == 0, shown.stderr
    said = next(examples for part, examples in EXAMPLES.items() if part in command)
    assert said in shown.stdout and "\nsplit   " in shown.stdout, shown.stdout


def test_the_page_names_every_usual_column():
    for kind, names in USUAL.items():
        (row,) = re.findall(rf"(?m)^\| `data.columns.{kind}` \|.*$", PAGE)
        assert re.findall(r"`([\w.]+)`", row)[1:] == list(names), kind
