"""Parquet copies in the hub's cache layout: the same examples as the folder they were made from."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from datasets import Dataset
from huggingface_hub import constants
from support.audio import write_folder
from support.runs import data_words, jobs, pair_words

from mam.config.data import DataConfig, HubConfig
from mam.data.corpus import open_corpus
from mam.data.store import AudioStore
from mam.errors import ConfigError, DataError
from mam.evaluation.workbench import Workbench
from mam.runs.run import run

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty snapshot of owner/name in a hub cache of its own."""
    repository = tmp_path / "hub" / "datasets--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


def write_parquet(path, clips, speakers=None, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"audio": [{"bytes": clip.read_bytes(), "path": clip.name} for clip in clips], **columns}
    if speakers:
        rows["speaker_id"] = speakers
    Dataset.from_dict(rows).to_parquet(path)


def config(form="librispeech", split="all", **hub):
    return DataConfig(name=form, format=form, source="hub", hub=HubConfig(id="owner/name", **hub), split=split)


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "clips", [0.6, 1.3, 0.9])


def test_a_copy_gives_the_same_audio_and_text(hub, folder):
    clips = [folder / f"clip{i}.wav" for i in range(3)]
    write_parquet(hub / "clean/test/0000.parquet", clips[:2], [61, 61], text=["HELLO THERE", "ANNA"], id=["a", "b"])
    write_parquet(hub / "clean/validation/0000.parquet", clips[2:], [84], text=["BOTTLES AND JARS"], id=["c"])
    corpus = open_corpus(config(ids="id", speaker="speaker_id"))
    assert (corpus.column("id"), corpus.column("speaker")) == (["a", "b", "c"], ["61", "61", "84"])
    assert corpus.column("audio") == ["clip0.wav", "clip1.wav", "clip2.wav"]
    for i, clip in enumerate(clips):
        np.testing.assert_array_equal(corpus.wave(i, 16000), soundfile.read(clip, dtype="float32")[0])
    dev = open_corpus(config(split="dev", ids="id"))
    assert dev.column("id") == ["c"] and dev.rule == "as the Parquet files are named: dev, test"
    assert dev.wave(0, 16000).shape == corpus.wave(2, 16000).shape


def test_the_hash_sees_the_recordings(hub, folder):
    clips = [folder / "clip0.wav", folder / "clip1.wav"]
    write_parquet(hub / "test-0.parquet", clips, text=["a", "b"])
    before = open_corpus(config()).sha256
    write_parquet(hub / "test-0.parquet", clips[::-1], text=["a", "b"])
    assert open_corpus(config()).sha256 != before


def test_vctk_is_split_by_speaker_here_too(hub, folder):
    clips = [folder / "clip0.wav"] * 20
    speakers = [f"p{200 + i // 2}" for i in range(20)]
    texts = ["Please call Stella." if i % 2 else f"Only {speakers[i]}." for i in range(20)]
    write_parquet(hub / "data/train-0.parquet", clips, speakers, text=texts, id=[str(i) for i in range(20)])
    sizes = {s: len(open_corpus(config("vctk", s, ids="id", speaker="speaker_id"))) for s in ("train", "dev", "test")}
    assert sizes == {"train": 8, "dev": 2, "test": 2}


def test_vctk_takes_the_first_microphone(hub, folder):
    for microphone in ("mic1", "mic2"):
        (folder / f"p225_001_{microphone}.wav").write_bytes((folder / "clip0.wav").read_bytes())
    clips = [folder / "p225_001_mic1.wav", folder / "p225_001_mic2.wav"]
    write_parquet(hub / "data/train-0.parquet", clips, ["p225", "p225"], text=["Please.", "Please."])
    assert open_corpus(config("vctk", speaker="speaker_id")).column("id") == ["p225_001_mic1"]


def test_what_is_missing_is_named(hub, folder, tmp_path):
    with pytest.raises(DataError, match=r"no Parquet file matches data.hub.files=\*\*/\*.parquet"):
        open_corpus(config())
    write_parquet(hub / "test-0.parquet", [folder / "clip0.wav"], sentence=["a"])
    with pytest.raises(DataError, match=r"has no column data.hub.text=text; its columns are: audio, sentence"):
        open_corpus(config())
    with pytest.raises(DataError, match=r"data.hub.speaker=reader"):
        open_corpus(config(text="sentence", speaker="reader"))
    (hub / "test-0.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_corpus(config(text="sentence"))
    with pytest.raises(DataError, match=r"data.hub.id=owner/other: the hub cannot be reached or HF_HUB_OFFLINE"):
        open_corpus(DataConfig(name="x", format="vctk", source="hub", hub=HubConfig(id="owner/other")))


def test_a_cell_without_bytes_is_named(hub, folder):
    Dataset.from_dict({"audio": [{"bytes": None, "path": "/far/away.wav"}], "text": ["a"]}).to_parquet(
        hub / "test.parquet"
    )
    with pytest.raises(DataError, match="holds no recording, only the path '/far/away.wav'"):
        open_corpus(config()).wave(0, 16000)


def test_broken_bytes_are_skipped_and_counted(hub, folder):
    (folder / "clip1.wav").write_bytes(b"not audio")
    write_parquet(hub / "test-0.parquet", [folder / "clip0.wav", folder / "clip1.wav"], text=["a", "b"])
    store = AudioStore.checked(open_corpus(config()), 16000, 10**9, "skip")
    assert store.corpus.column("id") == ["clip0"] and store.corpus.skipped[0].id == "clip1"
    np.testing.assert_array_equal(store.wave(0), store.corpus.wave(0, 16000))


def test_a_run_on_the_copy_equals_a_run_on_the_folder(hub, folder, hubert_group, bert):
    texts = ["HELLO THERE", "ANNA", "BOTTLES AND JARS"]
    write_parquet(hub / "data/test-0.parquet", [folder / f"clip{i}.wav" for i in range(3)], text=texts)
    pair = [*pair_words(hubert_group, bert), "lam=0.4"]
    copy = run(jobs([*pair, "data=audiofolder", "data.source=hub", "data.hub.id=owner/name"])[0], Workbench())
    plain = run(jobs([*pair, *data_words(folder)])[0], Workbench())
    assert (copy.folder / "predictions.jsonl").read_text() == (plain.folder / "predictions.jsonl").read_text()
    assert copy.result.metrics == plain.result.metrics


def test_a_copy_must_be_named():
    with pytest.raises(ConfigError, match="data.hub.id: data=ljspeech names no copy on the hub"):
        jobs(["data=ljspeech", "data.source=hub"])
