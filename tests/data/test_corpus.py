"""From folders to corpora: official layouts, splits, and every kind of broken metadata."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from support.audio import write_folder
from support.layouts import write_lj

from mam.config.data import DataConfig, IdsConfig
from mam.data.corpus import open_corpus
from mam.data.store import AudioStore
from mam.errors import DataError


def config(root, form="audiofolder", **fields):
    fields = {"split": "all", **fields}
    return DataConfig(name="mine", format=form, root=str(root), **fields)


def test_ljspeech_takes_the_third_field_and_sorts(tmp_path):
    corpus = open_corpus(config(write_lj(tmp_path / "lj", 3), "ljspeech"))
    assert corpus.column("id") == ["LJ000", "LJ001", "LJ002"]
    assert corpus.column("text")[2] == "Doctor No 2"
    assert corpus.column("audio")[0] == "wavs/LJ000.wav"
    assert corpus.rule == "all examples"


def test_ljspeech_split_rule(tmp_path):
    root = write_lj(tmp_path / "lj", 503)
    sizes = {split: open_corpus(config(root, "ljspeech", split=split)) for split in ("train", "dev", "test")}
    assert {split: len(corpus) for split, corpus in sizes.items()} == {"train": 3, "dev": 250, "test": 250}
    assert sizes["dev"].column("id")[0] == "LJ003" and sizes["test"].column("id")[-1] == "LJ502"


def test_ljspeech_that_is_too_small_for_the_rule_says_so(tmp_path):
    with pytest.raises(DataError, match="no splits: they need more than 500 clips, but there are 3.*data.split=all"):
        open_corpus(config(write_lj(tmp_path / "lj", 3), "ljspeech", split="test"))


@pytest.mark.parametrize("folder", ["missing", "empty"])
@pytest.mark.parametrize(("form", "words"), [("ljspeech", "2.6 GB.*keithito.com"), ("audiofolder", "metadata.csv")])
def test_a_folder_that_is_not_there_says_what_to_get(tmp_path, folder, form, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"(?s){folder}: .*{words}"):
        open_corpus(config(tmp_path / folder, form))


def test_ljspeech_without_metadata(tmp_path):
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match="is not LJ Speech"):
        open_corpus(config(tmp_path, "ljspeech"))


def test_ljspeech_lines_of_wrong_width_are_all_listed(tmp_path):
    root = write_lj(tmp_path / "lj", 3)
    (root / "metadata.csv").write_text("LJ000|a|a\nLJ001|b\nLJ002|c|c|c\n")
    with pytest.raises(DataError, match="(?s)line 2: has 2 fields instead of 3.*line 3: has 4 fields"):
        open_corpus(config(root, "ljspeech"))


def test_audiofolder_with_a_split_column(tmp_path):
    root = write_folder(tmp_path / "f", [0.2] * 4, split=["train", "dev", "validation", "test"], speaker=list("aabb"))
    corpus = open_corpus(config(root, split="dev"))
    assert corpus.column("id") == ["clip1", "clip2"] and corpus.column("speaker") == ["a", "b"]
    with pytest.raises(DataError, match=r"splits with examples: dev, test\)"):
        open_corpus(config(write_folder(tmp_path / "g", [0.2] * 2, split=["dev", "test"]), split="train"))


def test_audiofolder_with_a_folder_a_split(tmp_path):
    write_folder(tmp_path / "train", [0.2, 0.3])
    write_folder(tmp_path / "validation", [0.2], id=["v"])
    corpus = open_corpus(config(tmp_path, split="dev"))
    assert corpus.column("id") == ["v"] and corpus.column("audio") == ["validation/clip0.wav"]


def test_audiofolder_jsonl_and_quoted_csv(tmp_path):
    root = write_folder(tmp_path / "f", [0.2, 0.2])
    (root / "metadata.csv").write_text(
        'file_name,transcription\nclip0.wav,"yes, ""two""\nlines"\n', encoding="utf-8-sig"
    )
    assert open_corpus(config(root)).column("text") == ['yes, "two"\nlines']
    (root / "metadata.csv").unlink()
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": "clip1.wav", "transcription": "süß", "id": 7}))
    corpus = open_corpus(config(root))
    assert corpus.column("text") == ["süß"] and corpus.column("id") == ["7"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "file_name,words\na.wav,x\n",
            "has no column with a known name for text or label",
        ),
        ("words,text\na.wav,x\n", "has no column with a known name for audio"),
        ("file_name,transcription\nclip0.wav\n", "line 2: has 1 fields instead of 2"),
        ("file_name,transcription\nclip0.wav,a,b\n", "line 2: has 3 fields instead of 2"),
        ("file_name,transcription\nnone.wav,a\n", "line 2: none: the recording .*none.wav does not exist"),
        ("file_name,transcription\nclip0.wav,  \n", r"line 2: clip0: the transcript is empty"),
        ('file_name,transcription\nclip0.wav,"open\nclip1.wav,b\n', "invalid CSV .*Look for an open quotation mark"),
        ("file_name,transcription,transcription\nclip0.wav,a,b\n", "has two columns transcription"),
        ("file_name,transcription\n" + "x" * 300 + ".wav,a\n", "is not a valid path"),
        ("file_name,transcription\nclip0.wav,a\nclip0.wav,b\n", "line 3: the id 'clip0' was already used in.*line 2"),
        ("file_name,transcription\n../x.wav,a\n", "points outside"),
        ("file_name,transcription\n,a\n", "file_name is empty"),
        ("file_name,transcription,split\nclip0.wav,a,eval\n", "split 'eval' is not one of: dev, test, train"),
        ("file_name,transcription\n", "the metadata has no lines"),
    ],
)
def test_broken_metadata_is_named(tmp_path, content, message):
    root = write_folder(tmp_path / "f", [0.2])
    (root / "metadata.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        open_corpus(config(root))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1: cannot be read as JSON"),
        ("[1]", "a JSON list"),
        (
            '{"a": 1}',
            "no column with a known name for audio and text or label. Its columns are: a. Set data.columns.audio=",
        ),
        ('{"path": "a", "text": "b"}\n{"text": "c"}', "line 2: has no field path. Its fields are: text"),
        ('{"path": "a", "text": "b"}\n{"path": "c"}', "line 2: has no field text. Its fields are: path"),
        ('{"file_name": "a.wav", "transcription": {"text": "x"}}', "line 1: transcription must be text"),
        ('{"file_name": "a.wav", "transcription": "x", "speaker": [1]}', "line 1: speaker must be text"),
        ('{"file_name": "a.wav", "transcription": "x", "transcription": "y"}', "a key occurs twice"),
        ('{"file_name": "a.wav", "transcription": "\\ud800"}', "has invalid Unicode characters"),
        ("[" * 100_000, "line 1: JSON is nested too deeply"),
    ],
)
def test_broken_jsonl_is_named(tmp_path, content, message):
    (tmp_path / "metadata.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        open_corpus(config(tmp_path))


def test_metadata_that_is_not_utf8(tmp_path):
    (tmp_path / "metadata.csv").write_bytes("file_name,transcription\na.wav,ü\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not UTF-8 text \(byte"):
        open_corpus(config(tmp_path))


def test_bad_metadata_can_be_skipped_and_is_counted(tmp_path):
    root = write_folder(tmp_path / "f", [0.2, 0.3])
    with (root / "metadata.csv").open("a") as file:
        file.write("none.wav,text\n")
    corpus = open_corpus(config(root, on_bad="skip"))
    assert len(corpus) == 2
    assert [(s.id, "does not exist" in s.reason) for s in corpus.skipped] == [("none", True)]


def test_own_id_list(tmp_path):
    root = write_folder(tmp_path / "f", [0.2] * 4)
    ids = tmp_path / "ids.txt"
    ids.write_text("clip3\n\nclip1\n")
    corpus = open_corpus(config(root, split="test", ids=IdsConfig(test=str(ids))))
    assert corpus.column("id") == ["clip3", "clip1"] and corpus.rule == "ids as listed in ids.txt"
    ids.write_text("clip3\nclip9\n")
    with pytest.raises(DataError, match="'clip9' is not an id of the data set"):
        open_corpus(config(root, split="test", ids=IdsConfig(test=str(ids))))
    ids.write_text("clip3\nclip3\n")
    with pytest.raises(DataError, match="these ids occur more than once: clip3"):
        open_corpus(config(root, split="test", ids=IdsConfig(test=str(ids))))


def test_limit_takes_the_first(tmp_path):
    assert open_corpus(config(write_folder(tmp_path / "f", [0.2] * 4), limit=2)).column("id") == ["clip0", "clip1"]


def test_hash_sees_every_byte_and_every_word(tmp_path):
    root = write_folder(tmp_path / "f", [0.2, 0.3])
    before = open_corpus(config(root)).sha256
    assert open_corpus(config(root)).sha256 == before
    content = bytearray((root / "clip1.wav").read_bytes())
    content[-1] ^= 1
    (root / "clip1.wav").write_bytes(content)
    changed = open_corpus(config(root)).sha256
    assert changed != before
    (root / "metadata.csv").write_text((root / "metadata.csv").read_text().replace("ANNA", "HANNA"))
    assert open_corpus(config(root)).sha256 not in (before, changed)


def test_examples_are_mapped_not_held(tmp_path):
    """5,000 rows: what stays allocated in Python is far less than the 1 MB that they are on disk."""
    (tmp_path / "a.wav").touch()
    text = "some words that a sentence might have " * 4
    lines = [json.dumps({"file_name": "a.wav", "transcription": text, "id": f"{i:06d}"}) for i in range(5_000)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    del lines
    tracemalloc.start()
    corpus = open_corpus(config(tmp_path))
    assert len(corpus) == 5_000
    assert tracemalloc.get_traced_memory()[0] < 4e5
    tracemalloc.stop()
    assert corpus.examples[4_999]["id"] == "004999"


def test_store_serves_the_same_audio_kept_or_not(tmp_path):
    corpus = open_corpus(config(write_folder(tmp_path / "f", [0.2, 0.5, 0.3])))
    kept = AudioStore.checked(corpus, 16000, 10**9, "stop")
    poor = AudioStore.checked(corpus, 16000, 0, "stop")
    assert kept.samples == poor.samples == [3200, 8000, 4800]
    for i in range(3):
        np.testing.assert_array_equal(kept.wave(i), poor.wave(i))
    assert kept.wave(1) is kept.wave(1) and poor.wave(1) is not poor.wave(1)


def test_store_lists_every_bad_recording_or_leaves_them_out(tmp_path):
    root = write_folder(tmp_path / "f", [0.2, 0.01, 0.3, 0.4])
    soundfile.write(root / "clip3.wav", np.zeros(3200), 16000)
    corpus = open_corpus(config(root))
    with pytest.raises(DataError, match=r"(?s)clip1.wav: is only 0.010 s.*clip3.wav: is silent.*data.on_bad=skip"):
        AudioStore.checked(corpus, 16000, 10**9, "stop")
    store = AudioStore.checked(corpus, 16000, 10**9, "skip")
    assert store.corpus.column("id") == ["clip0", "clip2"] and store.samples == [3200, 4800]
    assert [s.id for s in store.corpus.skipped] == ["clip1", "clip3"]
    np.testing.assert_array_equal(store.wave(1), corpus.wave(2, 16000))


def test_metadata_and_recordings_are_reported_together(tmp_path):
    root = write_folder(tmp_path / "f", [0.2, 0.01])
    with (root / "metadata.csv").open("a") as file:
        file.write("none.wav,text\nclip0.wav/../../../x.wav,text\n")
    with pytest.raises(DataError, match=r"(?s)none.wav.*points outside.*clip1.wav: is only 0.010 s"):
        AudioStore.checked(open_corpus(config(root)), 16000, 10**9, "stop")
    store = AudioStore.checked(open_corpus(config(root)), 16000, 10**9, "skip")
    assert len(store.corpus) == 1 and len(store.corpus.skipped) == 3


def test_two_kinds_of_metadata_are_refused(tmp_path):
    root = write_folder(tmp_path / "f", [0.2])
    write_folder(root / "test", [0.2])
    with pytest.raises(DataError, match="there is also metadata in test"):
        open_corpus(config(root))
    (root / "metadata.jsonl").write_text("{}")
    with pytest.raises(DataError, match="has both metadata.csv and metadata.jsonl"):
        open_corpus(config(root))


def test_nothing_left_is_an_error_even_when_skipping(tmp_path):
    corpus = open_corpus(config(write_folder(tmp_path / "f", [0.01])))
    with pytest.raises(DataError, match="No examples are left"):
        AudioStore.checked(corpus, 16000, 10**9, "skip")


def test_not_dev_is_everything_that_did_not_choose(tmp_path):
    """Of LJ Speech's rule: all but the 250 of dev, in the order of the metadata; own ids of dev count too."""
    lines = [f"LJ{i:04}|a|some words" for i in range(620)]
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "wavs").mkdir()
    for i in range(620):
        (tmp_path / "wavs" / f"LJ{i:04}.wav").touch()
    asked = config(tmp_path, "ljspeech", split="not_dev")
    corpus = open_corpus(asked)
    assert corpus.column("id") == [f"LJ{i:04}" for i in (*range(120), *range(370, 620))]
    assert corpus.rule.startswith("everything except dev (sorted by id; the last 500 clips are dev")
    (tmp_path / "dev.txt").write_text("LJ0001\nLJ0002\n")
    own = open_corpus(replace(asked, ids=IdsConfig(dev=str(tmp_path / "dev.txt")), limit=3))
    assert own.column("id") == ["LJ0000", "LJ0003", "LJ0004"]


def test_without_a_dev_there_is_no_not_dev(tmp_path):
    folder = write_folder(tmp_path / "data", [0.5, 0.6], split=["train", "test"])
    with pytest.raises(DataError, match="data.split=dev: the split is empty"):
        open_corpus(config(folder, split="not_dev"))
