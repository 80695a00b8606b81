"""Kaldi's folders: what they say is read, and nothing in them is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audio import noise

from mam.config.data import DataConfig
from mam.data.corpus import open_corpus
from mam.errors import DataError


def config(root, split="all", **fields):
    return DataConfig(name="x", format="kaldi", root=str(root), split=split, **fields)


def write_kaldi(folder: Path, recordings: Path, names=("ann-1", "bob-1")) -> Path:
    folder.mkdir(parents=True)
    recordings.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        soundfile.write(recordings / f"{name}.wav", noise(0.2, i), 16000)
    (folder / "wav.scp").write_text("".join(f"{name} {recordings / name}.wav\n" for name in names))
    (folder / "text").write_text("".join(f"{name} WORDS OF {name}\n" for name in names))
    (folder / "utt2spk").write_text("".join(f"{name} {name.partition('-')[0]}\n" for name in names))
    return folder


@pytest.fixture
def root(tmp_path) -> Path:
    return write_kaldi(tmp_path / "data", tmp_path / "recordings")


def test_one_folder(root):
    corpus = open_corpus(config(root, clusters="speaker"))
    assert corpus.column("id") == ["ann-1", "bob-1"] and corpus.column("speaker") == ["ann", "bob"]
    assert corpus.column("text") == ["WORDS OF ann-1", "WORDS OF bob-1"] and corpus.wave(1, 16000).shape == (3200,)
    (root / "utt2spk").unlink()
    assert open_corpus(config(root)).column("speaker") == [None, None]


def test_a_folder_for_each_split(tmp_path):
    for i, name in enumerate(("train_clean", "dev", "test", "test_other", "eval92")):
        write_kaldi(tmp_path / "data" / name, tmp_path / "recordings", (f"spk{i}-1",))
    (tmp_path / "data" / "lang").mkdir()
    rule = "Kaldi folders: train is train_clean, dev is dev, test is test and test_other, eval92 not in any split"
    ids = {"train": ["spk0-1"], "dev": ["spk1-1"], "test": ["spk2-1", "spk3-1"]}
    for split, expected in ids.items():
        corpus = open_corpus(config(tmp_path / "data", split))
        assert (corpus.column("id"), corpus.rule) == (expected, rule)
    everything = open_corpus(config(tmp_path / "data", "all"))
    assert everything.column("id") == ["spk0-1", "spk1-1", "spk2-1", "spk3-1", "spk4-1"]
    assert everything.column("split") == ["train", "dev", "test", "test", None]


def test_folders_that_share_utterances_are_named(tmp_path):
    for name, speakers in (("test", ("ann-1", "bob-1")), ("test_hires", ("bob-1",))):
        write_kaldi(tmp_path / "data" / name, tmp_path / "recordings", speakers)
    message = (
        "data/test_hires: has utterances that are also in .*data/test, such as bob-1. Read only one folder, with"
        " data.root="
    )
    with pytest.raises(DataError, match=message):
        open_corpus(config(tmp_path / "data", "test"))
    assert len(open_corpus(config(tmp_path / "data" / "test"))) == 2


@pytest.mark.parametrize("named", ["wavs/ann-1.wav", "data/wavs/ann-1.wav"])
def test_relative_paths(named, root, tmp_path, monkeypatch):
    """Below the data folder, or from the working directory as in a recipe of Kaldi's."""
    (tmp_path / "recordings").rename(root / "wavs")
    monkeypatch.chdir(tmp_path)
    (root / "wav.scp").write_text(f"ann-1\t{named}\n")
    (root / "text").write_text("ann-1\tWORDS  HERE\n")
    corpus = open_corpus(config(root))
    assert corpus.wave(0, 16000).shape == (3200,) and corpus.column("text") == ["WORDS  HERE"]


def test_recordings_without_text_are_left_out_and_counted(root):
    (root / "text").write_text("ann-1 YES\n")
    corpus = open_corpus(config(root))
    assert corpus.column("text") == ["YES"] and [one.id for one in corpus.skipped] == ["bob-1"]


BROKEN = {
    "pipe": ("wav.scp", "ann-1 touch ran |\n", r"line 1: ann-1: is a command \(touch ran \|\), which mam does not run"),
    "pipe to": ("wav.scp", "ann-1 | touch ran\n", r"ann-1: is a command"),
    "archive": ("wav.scp", "ann-1 wavs.ark:1234\n", r"ann-1: is an offset into an archive \(wavs.ark:1234\)"),
    "stdin": ("wav.scp", "ann-1 -\n", "ann-1: is standard input"),
    "nothing": ("wav.scp", "ann-1\n", "ann-1: has no file name"),
    "twice": ("wav.scp", "ann-1 a.wav\nann-1 b.wav\n", "wav.scp, line 2: ann-1 was already used in line 1"),
    "no entry": ("wav.scp", "ann-1 a.wav\n", r"text, line 2: bob-1 is missing from .*wav.scp"),
    "no speaker": ("utt2spk", "ann-1 ann\n", "text, line 2: bob-1 is missing from.*utt2spk"),
    "no text": ("text", "ann-1\nbob-1 YES\n", "ann-1: the transcript is empty"),
    "no lines": ("text", "\n", r"text: has no lines. It needs a Kaldi data folder"),
    "no file": ("wav.scp", "ann-1 a.wav\nbob-1 b\0.wav\n", "the recording .*a.wav does not exist"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_named(name, content, message, root):
    (root / name).write_text(content)
    with pytest.raises(DataError, match=message):
        corpus = open_corpus(config(root))
        raise DataError("\n".join(corpus.problems))
    assert not Path("ran").exists()


def test_files_that_are_missing_or_not_read(root, tmp_path):
    (root / "segments").write_text("a ann-1 0 1\n")
    with pytest.raises(DataError, match="segments: mam reads only whole recordings. Cut them .*extract_wav_segments"):
        open_corpus(config(root))
    (root / "segments").unlink()
    (root / "text").unlink()
    with pytest.raises(DataError, match="text: there is no such file"):
        open_corpus(config(root))
    (root / "wav.scp").unlink()
    with pytest.raises(DataError, match="has no wav.scp, nor folders train, dev or test with one"):
        open_corpus(config(root))


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=4), is_named=st.booleans()
)
def test_whatever_wav_scp_holds_is_read_or_refused(lines, is_named, tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    content = "\n".join(f"a{i} {line}" if is_named else line for i, line in enumerate(lines))
    (root / "wav.scp").write_bytes(content.encode())
    (root / "text").write_text("a0 YES\na1 NO\n")
    with pytest.raises(DataError):  # there is no recording that it could name
        open_corpus(config(root))
