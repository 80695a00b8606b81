"""Blank lines, rows of empty cells and a byte order mark are read as what they plainly are: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.audio import write_folder, write_sounds
from support.layouts import write_esc50, write_librispeech, write_lj, write_vctk

from mam.config.data import DataConfig, IdsConfig
from mam.data.corpus import Corpus, open_corpus
from mam.errors import DataError

BLANKS = {
    "last": lambda text: f"{text}\n",
    "several": lambda text: f"{text}\n \n\t\n\n",
    "first": lambda text: f"\n{text}",
    "between": lambda text: text.replace("\n", "\n\n"),
    "windows": lambda text: text.replace("\n", "\r\n") + "\r\n",
    "mark": lambda text: f"\ufeff{text}",
    "mark and all": lambda text: "\ufeff\r\n" + text.replace("\n", "\r\n\r\n"),
}
blanks = pytest.mark.parametrize("blank", BLANKS.values(), ids=BLANKS.keys())


def read(root: Path, form: str, **fields: object) -> Corpus:
    config = DataConfig(name="x", format=form, root=str(root), **{"split": "all", **fields})
    return open_corpus(config, "events" if form == "esc50" else "asr")


def both(root: Path, form: str, name: str, change) -> tuple[Corpus, Corpus]:
    """The corpus before and after a change of one file."""
    before = read(root, form, **({"split": "test"} if form == "esc50" else {}))
    (path,) = root.glob(name)
    path.write_bytes(change(path.read_text()).encode())
    return before, read(root, form, **({"split": "test"} if form == "esc50" else {}))


@blanks
def test_ljspeech(tmp_path, blank):
    before, after = both(write_lj(tmp_path / "lj", 3), "ljspeech", "metadata.csv", blank)
    assert after.sha256 == before.sha256 and after.column("id") == ["LJ000", "LJ001", "LJ002"]


@blanks
def test_a_table(tmp_path, blank):
    before, after = both(write_folder(tmp_path / "a", [0.1] * 3), "audiofolder", "metadata.csv", blank)
    assert after.sha256 == before.sha256 and len(after) == 3


@blanks
def test_json_lines(tmp_path, blank):
    root = write_folder(tmp_path / "a", [0.1] * 2)
    (root / "metadata.csv").unlink()
    lines = [f'{{"file_name": "clip{i}.wav", "transcription": "A {i}"}}\n' for i in range(2)]
    (root / "metadata.jsonl").write_text("".join(lines))
    before, after = both(root, "audiofolder", "metadata.jsonl", blank)
    assert after.sha256 == before.sha256 and after.column("text") == ["A 0", "A 1"]


@blanks
def test_esc50(tmp_path, blank):
    before, after = both(write_esc50(tmp_path), "esc50", "meta/esc50.csv", blank)
    assert after.sha256 == before.sha256 and len(after) == 30


@blanks
def test_librispeech(tmp_path, blank):
    root = write_librispeech(tmp_path)
    name = next(root.rglob("*.trans.txt")).relative_to(root)
    before, after = both(root, "librispeech", str(name), blank)
    assert after.sha256 == before.sha256


@blanks
def test_a_text_of_vctk(tmp_path, blank):
    before, after = both(write_vctk(tmp_path, "0.80", 10), "vctk", "txt/p200/p200_001.txt", blank)
    assert after.sha256 == before.sha256


@blanks
def test_ids(tmp_path, blank):
    root, ids = write_folder(tmp_path / "a", [0.1] * 3), tmp_path / "ids.txt"
    ids.write_bytes(blank("clip2\nclip0\n").encode())
    corpus = read(root, "audiofolder", split="test", ids=IdsConfig(test=str(ids)))
    assert corpus.column("id") == ["clip2", "clip0"]


@pytest.mark.parametrize(
    ("form", "name", "row"), [("ljspeech", "metadata.csv", "||"), ("audiofolder", "metadata.csv", ",")]
)
def test_a_spreadsheets_row_of_empty_cells(tmp_path, form, name, row):
    root = write_lj(tmp_path, 3) if form == "ljspeech" else write_folder(tmp_path, [0.1] * 3)
    before, after = both(root, form, name, lambda text: f"{text}{row}\n{row}\n")
    assert after.sha256 == before.sha256


def test_blank_lines_inside_a_quoted_text_stay(tmp_path):
    root = write_folder(tmp_path, [0.1])
    (root / "metadata.csv").write_text('file_name, transcription\nclip0.wav,"A\n\nB"\n\n')
    assert read(root, "audiofolder").column("text") == ["A\n\nB"]


def test_what_is_broken_keeps_its_line(tmp_path):
    root = write_lj(tmp_path / "lj", 2)
    (root / "metadata.csv").write_text("\n\nLJ000|a|a\n\nLJ001|b\n")
    with pytest.raises(DataError, match="metadata.csv, line 5: has 2 fields instead of 3"):
        read(root, "ljspeech")
    (root / "metadata.csv").write_text("\n \n")
    with pytest.raises(DataError, match=r"metadata\.csv: is empty\. LJ Speech 1\.1 is"):
        read(root, "ljspeech")
    sounds = write_sounds(tmp_path / "sounds")
    (sounds / "metadata.csv").write_text("file_name,label,fold\n\n,hum,1\n")
    with pytest.raises(DataError, match=r"metadata\.csv, line 3: file_name is empty"):
        read(sounds, "audiofolder")


def test_a_table_whose_cell_is_too_long_is_named(tmp_path):
    root = write_esc50(tmp_path)
    path = root / "meta" / "esc50.csv"
    path.write_text(path.read_text() + "x" * 200_000 + "\n")
    with pytest.raises(DataError, match=r"esc50\.csv, line 32: broken CSV \(field larger"):
        read(root, "esc50", split="test")
