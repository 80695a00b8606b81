"""Folders as people have them: CSV, TSV and JSON lines with many names of columns, and recordings in subfolders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audio import noise, write_folder

from mam.config.data import ColumnsConfig, DataConfig
from mam.data.corpus import open_corpus
from mam.data.tables import read_table
from mam.errors import DataError


def config(root, metadata=None, split="all", form="audiofolder", columns=None, **fields):
    columns = ColumnsConfig(**columns or {})
    return DataConfig(name="x", format=form, root=str(root), split=split, metadata=metadata, columns=columns, **fields)


@pytest.fixture
def root(tmp_path) -> Path:
    """Three recordings in `clips/`, without metadata."""
    folder = tmp_path / "data"
    (folder / "clips").mkdir(parents=True)
    for i in range(3):
        soundfile.write(folder / "clips" / f"clip{i}.wav", noise(0.2, i), 16000)
    return folder


TABLES = {
    "datasets": ("metadata.csv", "file_name,transcription\nclips/clip0.wav,A\nclips/clip1.wav,B\n", ""),
    "like common voice": (
        "metadata.tsv",
        "path\tsentence\nclip0.wav\tA\nclip1.wav\tB\n",
        "audio from path; text from sentence",
    ),
    "audio, text": ("metadata.csv", "audio,text\nclip0.wav,A\nclip1.wav,B\n", "audio from audio; text from text"),
    "without endings": ("metadata.csv", "audio,text\nclip0,A\nclip1,B\n", "audio from audio; text from text"),
    "folder without endings": ("metadata.csv", "file_name,transcription\nclips/clip0,A\nclips/clip1,B\n", ""),
    "nemo": (
        "metadata.jsonl",
        '{"audio_filepath": "clips/clip0.wav", "duration": 0.2, "text": "A"}\n'
        '{"audio_filepath": "clips/clip1.wav", "duration": 0.2, "text": "B"}\n',
        "audio from audio_filepath; text from text",
    ),
    "windows": ("metadata.tsv", "\ufefffile_name\ttranscription\r\nclip0.wav\tA\r\nclip1.wav\tB\r\n", ""),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "said"), TABLES.values(), ids=TABLES)
def test_tables_are_recognised(name, content, said, root):
    (root / name).write_bytes(content.encode())
    corpus = open_corpus(config(root))
    assert corpus.column("text") == ["A", "B"] and corpus.column("audio") == ["clips/clip0.wav", "clips/clip1.wav"]
    assert corpus.rule == "; ".join(filter(None, ["all examples", said]))
    assert [Path(name).name for name in corpus.column("id")] == ["clip0", "clip1"]


def test_columns_by_name_and_other_tables(root, tmp_path):
    (root / "lists").mkdir()
    (root / "lists" / "mine.tsv").write_text("wav\twords\twho\tpart\nclip0\tA\tann\ttest\nclip1\tB\tbob\tdev\n")
    columns = {"text": "words", "speaker": "who", "split": "part"}
    corpus = open_corpus(config(root, "lists/mine.tsv", "test", columns=columns))
    assert (corpus.column("text"), corpus.column("speaker")) == (["A"], ["ann"])
    assert (
        corpus.rule == "splits as in the metadata; audio from wav; text from words; speaker from who; split from part"
    )
    outside = tmp_path / "outside.csv"
    outside.write_text("audio,text\nclip2.wav,C\n")
    assert open_corpus(config(root, str(outside))).column("audio") == ["clips/clip2.wav"]


@pytest.mark.parametrize("name", [".", "./", "/", "//", "..", "a\0b", "a" * 5000, "~nosuchuser/x"])
def test_cells_that_name_no_file_are_told_with_their_line(name, root):
    (root / "metadata.jsonl").write_text(
        "".join(json.dumps({"audio": each, "text": "A"}) + "\n" for each in ("clip0.wav", name))
    )
    (problem,) = open_corpus(config(root)).problems
    assert problem.startswith(f"{root}/metadata.jsonl, line 2: ")


def test_a_table_in_the_working_directory(root):
    Path("here.csv").write_text("audio,text\nclip2.wav,C\n")
    assert open_corpus(config(root, "here.csv")).column("text") == ["C"]


@pytest.mark.parametrize(
    ("metadata", "columns", "message"),
    [
        (
            "none.csv",
            {},
            "data.metadata=none.csv: there is no such file in .*data or .*Tables in .*: mine.tsv",
        ),
        (
            "mine.tsv",
            {"text": "words"},
            r"mine.tsv: has no column data.columns.text=words. Its columns are: path, text",
        ),
        ("notes.txt", {}, "notes.txt: is not a supported table. Its name must end in one of: .csv, .jsonl, .tsv"),
        ("x" * 5000, {}, "there is no such file"),
        ("clips", {}, "there is no such file"),
    ],
)
def test_options_that_do_not_fit(metadata, columns, message, root):
    (root / "mine.tsv").write_text("path\ttext\nclip0.wav\tA\n")
    (root / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=message):
        open_corpus(config(root, metadata, columns=columns))


def test_options_without_metadata_or_with_other_formats(root):
    with pytest.raises(DataError, match="data.columns.text: data.root=.*has no metadata, so it has no columns"):
        open_corpus(config(root, columns={"text": "words"}))
    with pytest.raises(
        DataError,
        match=r"data.columns.text, data.metadata: has no effect, since data.format=ljspeech has fixed columns",
    ):
        open_corpus(config(root, "x.csv", form="ljspeech", columns={"text": "words"}))


def test_recordings_outside_the_folder_are_refused(root, tmp_path):
    soundfile.write(tmp_path / "secret.wav", noise(0.2, 9), 16000)
    for name in ("../secret.wav", str(tmp_path / "secret.wav"), "../secret"):
        (tmp_path / "list.csv").write_text(f"audio,text\n{name},A\n")
        with pytest.raises(DataError, match="points outside|does not exist"):
            open_corpus(config(root, str(tmp_path / "list.csv")))


def test_several_files_that_fit_are_named(root):
    soundfile.write(root / "clips" / "clip0.flac", noise(0.2, 9), 16000)
    (root / "metadata.csv").write_text("audio,text\nclip0,A\n")
    with pytest.raises(
        DataError, match=r"line 2: 'clip0' is ambiguous. It could be: clips/clip0.wav, clips/clip0.flac"
    ):
        open_corpus(config(root))
    (root / "metadata.csv").write_text("audio,text\nclip0.flac,A\n")
    assert open_corpus(config(root)).column("audio") == ["clips/clip0.flac"]


def test_names_with_dots_keep_their_ends(root):
    for name in ("a.1", "a.2"):
        soundfile.write(root / "clips" / f"{name}.wav", noise(0.2, 9), 16000)
    (root / "metadata.csv").write_text("audio,text\na.1,A\na.2,B\n")
    corpus = open_corpus(config(root))
    assert corpus.column("id") == ["a.1", "a.2"] and corpus.column("audio") == ["clips/a.1.wav", "clips/a.2.wav"]


QUOTES = 'path\tsentence\nclip0.wav\t"Ha, said he\nclip1.wav\tShe said "no"\nclip2.wav\t"whole"\n'


def test_quotes_of_a_tsv_are_letters(root):
    (root / "metadata.tsv").write_text(QUOTES)
    assert open_corpus(config(root)).column("text") == ['"Ha, said he', 'She said "no"', '"whole"']


BROKEN = {
    "fields": (
        "path\tsentence\nclip0.wav\tA\tB\nclip1.wav\n",
        "(?s)line 2: has 3 fields instead of 2 .*line 3: has 1 fields",
    ),
    "twice": ("path\tsentence\tsentence\nclip0.wav\tA\tB\n", "has two columns sentence"),
    "no names": ("path\tsentence\t\t\nclip0.wav\tA\t\t\n", r"has two columns \(without a name\)"),
    "no rows": ("path\tsentence\n", "the metadata has no lines"),
    "empty": ("", "the metadata has no lines"),
    "commas": (
        "path,sentence\nclip0.wav,A\n",
        "known name for audio and text or label. Its columns are: path,sentence",
    ),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_tsv_is_named(content, message, root):
    (root / "metadata.tsv").write_text(content)
    with pytest.raises(DataError, match=message):
        open_corpus(config(root))


@given(st.lists(st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_every_cell_of_a_tsv_is_read_as_written(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("t") / "m.tsv"
    path.write_bytes(b"a\tb\n" + "".join(f"x\t{cell}\n" for cell in cells).encode())
    problems: list[str] = []
    table = read_table(path, problems)
    assert [fields["b"] for _, fields in table.rows] == cells and not problems


def test_a_table_for_each_split(root):
    for split in ("train", "validation", "test"):
        (root / f"{split}.tsv").write_text(f"path\tsentence\nclip{len(split) % 4 % 3}.wav\t{split}\n")
    assert open_corpus(config(root, split="dev")).column("text") == ["validation"]
    (root / "metadata.csv").write_text("audio,text\nclip0.wav,A\n")
    with pytest.raises(DataError, match=r"metadata.csv: there is also metadata in test.tsv, train.tsv, validation.tsv"):
        open_corpus(config(root))
    assert len(open_corpus(config(root, "train.tsv"))) == 1


def test_a_folder_of_recordings_is_no_class(root):
    (root / "list.tsv").write_text("path\tsentence\nclip0.wav\tA\n")
    with pytest.raises(
        DataError, match=r"(?s)=list.tsv.*clips/clip0.wav: clips is a folder of recordings, not a class"
    ):
        open_corpus(config(root), "events")


def write_common_voice(root: Path) -> Path:
    (root / "clips").mkdir(parents=True)
    heading = "client_id\tpath\tsentence_id\tsentence\tup_votes\taccents"
    for i, split in enumerate(("train", "dev", "test")):
        soundfile.write(root / "clips" / f"common_voice_it_{i}.mp3", noise(0.3, i), 32000)
        row = f'{"ab" * 64}{i}\tcommon_voice_it_{i}.mp3\t{i}\t"Ciao, disse {i}\t2\t'
        (root / f"{split}.tsv").write_text(f"{heading}\n{row}\n")
    (root / "validated.tsv").write_text(f"{heading}\n")
    return root


def test_common_voice(tmp_path):
    root = write_common_voice(tmp_path / "cv-corpus" / "it")
    corpus = open_corpus(config(root, split="test", form="commonvoice", clusters="speaker"))
    assert corpus.column("text") == ['"Ciao, disse 2'] and corpus.column("speaker") == ["ab" * 64 + "2"]
    assert corpus.column("audio") == ["clips/common_voice_it_2.mp3"] and corpus.column("id") == ["common_voice_it_2"]
    assert corpus.rule == "Common Voice's own splits: train, dev, test" and len(corpus.wave(0, 16000)) == 2400
    with pytest.raises(
        DataError, match="has no clips/ together with train.tsv.* There is a clips/ in it: give one of these"
    ):
        open_corpus(config(root.parent, form="commonvoice"))


def test_common_voice_that_is_broken(tmp_path):
    root = write_common_voice(tmp_path / "it")
    (root / "test.tsv").write_text("client_id\tpath\ttext\na\tb.mp3\tc\n")
    with pytest.raises(
        DataError, match=r"test.tsv: has no column data.columns.text=sentence. Its columns are: client_id"
    ):
        open_corpus(config(root, form="commonvoice"))
    for split in ("train", "dev", "test"):
        (root / f"{split}.tsv").write_text("client_id\tpath\tsentence\n")
    with pytest.raises(DataError, match="its tables have no rows"):
        open_corpus(config(root, form="commonvoice"))


def test_split_folders_may_have_any_table(tmp_path):
    write_folder(tmp_path / "train", [0.2])
    write_folder(tmp_path / "test", [0.2])
    (tmp_path / "test/metadata.csv").rename(tmp_path / "test/metadata.tsv")
    (tmp_path / "test/metadata.tsv").write_text("path\tsentence\nclip0.wav\tA\n")
    corpus = open_corpus(config(tmp_path, split="test"))
    assert corpus.column("audio") == ["test/clip0.wav"] and corpus.column("id") == ["test/clip0"]
    assert corpus.rule == "splits as in the metadata; audio from path; text from sentence; ids are the paths"


LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=4).map("\n".join)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["metadata.csv", "metadata.tsv", "metadata.jsonl"]), lines=LINES, head=st.booleans())
def test_whatever_a_table_holds_is_read_or_refused(name, lines, head, tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    heading = {"metadata.csv": "path,text\n", "metadata.tsv": "path\ttext\n", "metadata.jsonl": ""}[name]
    (root / name).write_bytes(f"{heading if head else ''}{lines}".encode())
    with pytest.raises(DataError):  # there is no recording that it could name
        open_corpus(config(root))
