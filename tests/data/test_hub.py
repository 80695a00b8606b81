"""Data sets of the hub: columns and splits recognised, rows kept, and every refusal with its remedy."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.hub import config, write_part
from support.runs import data_words, jobs, pair_words

from mam.config.data import IdsConfig
from mam.data import hub as hub_module
from mam.data.corpus import open_corpus
from mam.data.examples import COLUMNS
from mam.data.store import AudioStore
from mam.errors import ConfigError, DataError
from mam.evaluation.workbench import Workbench
from mam.runs.run import run


def test_audio_text_and_the_rest_are_recognised_and_said(place, clips):
    write_part(
        place / "data/test-0.parquet",
        clips,
        sentence=["A", "B", "C"],
        raw_text=["a", "b", "c"],
        client_id=[7, 8, 7],
        up_votes=[1, 2, 3],
    )
    corpus = open_corpus(config(place))
    assert corpus.column("text") == ["A", "B", "C"] and corpus.column("speaker") == ["7", "8", "7"]
    assert corpus.column("id") == ["clip0", "clip1", "clip2"] == [Path(a).stem for a in corpus.column("audio")]
    assert corpus.rule.startswith(f"the hub's splits; {place} at ")
    said = "audio from audio; text from sentence, not raw_text; speaker from client_id; id from the files' names"
    assert corpus.rule.endswith(f"test is test; {said}")
    for i, clip in enumerate(clips):
        np.testing.assert_array_equal(corpus.wave(i, 16000), soundfile.read(clip, dtype="float32")[0])


def test_other_columns_are_kept_as_text(place, clips):
    columns = {"gender": ["f", "", "m"], "age": [3, 4, 5], "tags": [["x"], [], []]}
    write_part(place / "test-0.parquet", clips, text=["A", "B", "C"], **columns)
    corpus = open_corpus(config(place))
    assert corpus.column("gender") == ["f", None, "m"]
    assert sorted(set(corpus.examples.column_names) - set(COLUMNS)) == ["age", "gender"]


def test_columns_by_name(place, clips):
    write_part(
        place / "test.parquet", clips, words=["A", "B", "C"], text=["x", "y", "z"], who=["p", "q", "r"], nr=[3, 2, 1]
    )
    corpus = open_corpus(config(place, columns={"text": "words", "speaker": "who", "id": "nr"}))
    assert corpus.column("text") == ["A", "B", "C"] and corpus.column("speaker") == ["p", "q", "r"]
    assert corpus.column("id") == ["3", "2", "1"]
    with pytest.raises(
        DataError, match=r"has no column data.columns.speaker=reader. Its columns are: words, text, who, nr"
    ):
        open_corpus(config(place, columns={"speaker": "reader"}))
    with pytest.raises(DataError, match=r"has no column data.columns.audio=sound; its columns are: audio, words"):
        open_corpus(config(place, columns={"audio": "sound"}))
    with pytest.raises(DataError, match="data.columns.audio=words has no encoded audio;"):
        open_corpus(config(place, columns={"audio": "words"}))


def test_ids_that_repeat_are_passed_over_unless_they_are_asked_for(place, clips):
    write_part(place / "test.parquet", [clips[0], clips[0], clips[1]], text=["A", "A", "B"], id=[1, 1, 2])
    corpus = open_corpus(config(place))
    assert corpus.column("id") == ["test-0", "test-1", "test-2"] and "id from the rows' numbers" in corpus.rule
    with pytest.raises(DataError, match="row 1: the id '1' was already used in.*row 0"):
        open_corpus(config(place, columns={"id": "id"}))


def test_splits_by_name_and_by_key(place, clips):
    for name in ("test.clean", "test.other", "validation", "train", "odd"):
        write_part(place / name / "0.parquet", clips[:1], text=[name], id=[name])
    readme = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    names = ("test.clean", "test.other", "validation", "train", "odd")
    readme += "".join(f"  - split: {name}\n    path: {name}/*\n" for name in names) + "---\n"
    (place / "README.md").write_text(readme)

    def ids(split, **splits):
        return open_corpus(config(place, split, splits=splits)).column("id")

    assert ids("test") == ["test.clean", "test.other"] and ids("dev") == ["validation"] and ids("train") == ["train"]
    assert ids("test", test="test.clean") == ["test.clean"]
    assert ids("dev", dev="odd+validation") == ["odd", "validation"]
    assert ids("all") == ["train", "validation", "test.clean", "test.other", "odd"]
    assert ids("not_dev") == ["train", "test.clean", "test.other", "odd"]
    assert (
        "train is train; dev is validation; test is test.clean and test.other; odd not in any split"
        in open_corpus(config(place, "all")).rule
    )
    with pytest.raises(
        DataError, match=r"has no split data.hub.split.test=eval. Its splits are: test.clean, test.other"
    ):
        ids("test", test="eval")


def test_a_set_of_one_split_says_what_to_set(place, clips):
    write_part(place / "train.parquet", clips, text=["A", "B", "C"])
    with pytest.raises(
        DataError, match="data.split=test: .* has the splits train, none of which .* data.hub.split.test=NAME"
    ):
        open_corpus(config(place))
    assert len(open_corpus(config(place, splits={"test": "train"}))) == 3


def test_only_what_is_asked_for_is_read_and_kept(place, clips, tmp_path, monkeypatch):
    write_part(place / "test.parquet", clips, text=["A", "B", "C"])
    read = []
    recording = hub_module._recording
    monkeypatch.setattr(
        hub_module, "_recording", lambda cell, place: read.append(cell["path"]) or recording(cell, place)
    )
    assert open_corpus(config(place, limit=2)).column("text") == ["A", "B"] and len(read) == 2
    monkeypatch.setattr(hub_module, "load_dataset", None)  # neither the hub nor the files are asked again
    again = open_corpus(config(place, limit=2))
    assert again.column("text") == ["A", "B"] and again.wave(1, 16000).shape == (20800,)
    (kept,) = (tmp_path / "datasets" / "mam").glob("*.arrow")
    kept.write_bytes(kept.read_bytes()[:500])  # damaged: read again
    with pytest.raises(DataError, match="'NoneType' object is not callable"):
        open_corpus(config(place, limit=2))


def test_a_folder_that_changed_is_read_again(place, clips):
    path = write_part(place / "test.parquet", clips[:2], text=["a", "b"])
    before = open_corpus(config(place)).sha256
    path.unlink()
    write_part(path, clips[1::-1], text=["a", "b"])
    assert open_corpus(config(place)).sha256 != before


def test_own_ids_are_looked_for_in_all_splits(place, clips, tmp_path):
    write_part(place / "train.parquet", clips[:2], text=["A", "B"])
    write_part(place / "test.parquet", clips[2:], text=["C"])
    (tmp_path / "ids").write_text("clip2\nclip0\n")
    asked = config(place, limit=1)
    asked.ids = IdsConfig(test=str(tmp_path / "ids"))
    assert open_corpus(asked).column("text") == ["C"]


def test_a_column_of_splits(place, clips):
    write_part(
        place / "train.parquet", clips, text=["A", "B", "C"], part=["train", "validation", "test"], of=list("xyz")
    )
    assert open_corpus(config(place, columns={"split": "part"})).column("text") == ["C"]
    assert open_corpus(config(place, "dev", columns={"split": "part"})).column("text") == ["B"]
    with pytest.raises(DataError, match=r"row 0: split 'x' is not one of: dev, test, train"):
        open_corpus(config(place, columns={"split": "of"}))


def test_classes_become_names(place, clips):
    write_part(place / "train.parquet", clips, label=[1, 0, 1], classes=["hum", "buzz"])
    write_part(place / "test.parquet", clips[:2], label=[0, 1], classes=["hum", "buzz"])
    corpus = open_corpus(config(place), "events")
    assert corpus.column("label") == ["buzz", "hum", "buzz", "hum", "buzz"]
    assert corpus.column("split") == ["train"] * 3 + ["test"] * 2
    assert open_corpus(config(place, limit=1), "events").column("label") == ["buzz", "hum"]


def test_a_limit_within_folds_reads_all_folds(place, clips):
    write_part(place / "train.parquet", clips, label=["a", "b", "a"], fold=[1, 1, 2])
    corpus = open_corpus(config(place, limit=1), "events")
    assert corpus.column("fold") == [1, 2] and corpus.rule.startswith("folds as on the hub; ")


def test_a_repository_of_tar_files(place, clips):
    """As WebDataset lays them out: a recording and its text have the same name."""
    place.mkdir()
    with tarfile.open(place / "test-0.tar", "w") as tar:
        for i, clip in enumerate(clips):
            (place / "words").write_text(f"WORD {i}")
            tar.add(clip, f"u{i}.wav")
            tar.add(place / "words", f"u{i}.txt")
    (place / "words").unlink()
    corpus = open_corpus(config(place, columns={"text": "txt"}))
    assert corpus.column("text") == ["WORD 0", "WORD 1", "WORD 2"]
    np.testing.assert_array_equal(corpus.wave(2, 16000), soundfile.read(clips[2], dtype="float32")[0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # datasets leaves metadata.csv open
def test_a_repository_of_audio_files(place, clips):
    """Recordings are files and metadata.csv names them: `datasets` would want torchcodec to read them."""
    (place / "test").mkdir(parents=True)
    for clip in clips:
        (place / "test" / clip.name).write_bytes(clip.read_bytes())
    lines = ["file_name,transcription", *(f"{clip.name},WORD {i}" for i, clip in enumerate(clips))]
    (place / "test/metadata.csv").write_text("\n".join(lines) + "\n")
    corpus = open_corpus(config(place))
    assert corpus.column("text") == ["WORD 0", "WORD 1", "WORD 2"]
    assert corpus.column("audio") == [f"test/clip{i}.wav" for i in range(3)]
    np.testing.assert_array_equal(corpus.wave(2, 16000), soundfile.read(clips[2], dtype="float32")[0])


def test_vctk_is_split_by_speaker_here_too(place, clips):
    speakers = [f"p{200 + i // 2}" for i in range(20)]
    texts = ["Please call Stella." if i % 2 else f"Only {speakers[i]}." for i in range(20)]
    ids = [str(i) for i in range(20)]
    write_part(place / "data/train-0.parquet", [clips[0]] * 20, text=texts, id=ids, speaker_id=speakers)
    sizes = {s: len(open_corpus(config(place, s, form="vctk", limit=9))) for s in ("train", "dev", "test")}
    assert sizes == {"train": 8, "dev": 2, "test": 2}


def test_vctk_takes_the_first_microphone(place, clips):
    both = [clips[0].with_name(f"p225_001_{microphone}.wav") for microphone in ("mic1", "mic2")]
    for clip in both:
        clip.write_bytes(clips[0].read_bytes())
    write_part(place / "data/train-0.parquet", both, text=["Please."] * 2, speaker_id=["p225"] * 2)
    assert open_corpus(config(place, "all", form="vctk")).column("id") == ["p225_001_mic1"]


def test_broken_bytes_are_skipped_and_counted(place, clips):
    clips[1].write_bytes(b"not audio")
    write_part(place / "test-0.parquet", clips[:2], text=["a", "b"])
    store = AudioStore.checked(open_corpus(config(place)), 16000, 10**9, "skip")
    assert store.corpus.column("id") == ["clip0"] and store.corpus.skipped[0].id == "clip1"
    np.testing.assert_array_equal(store.wave(0), store.corpus.wave(0, 16000))


def test_a_run_on_the_hub_equals_a_run_on_the_folder(place, clips, hubert_group, bert):
    write_part(place / "data/test-0.parquet", clips, text=["HELLO THERE", "ANNA", "BOTTLES AND JARS"])
    pair = [*pair_words(hubert_group, bert), "lam=0.4"]
    copy = run(jobs([*pair, "data=hub", f"data.hub.id={place}"])[0], Workbench())
    plain = run(jobs([*pair, *data_words(clips[0].parent)])[0], Workbench())
    assert (copy.folder / "predictions.jsonl").read_text() == (plain.folder / "predictions.jsonl").read_text()
    assert copy.result.metrics == plain.result.metrics
    assert "text from text" in copy.result.data.rule


def test_a_data_set_must_be_named():
    with pytest.raises(ConfigError, match="data.hub.id: data=ljspeech has no data set on the hub"):
        jobs(["data=ljspeech", "data.source=hub"])
    with pytest.raises(ConfigError, match="data.metadata: has no effect with data.source=hub"):
        jobs(["data=hub", "data.hub.id=a/b", "data.metadata=x.csv"])
    with pytest.raises(ConfigError, match="data.columns.text: is empty"):
        jobs(["data=hub", "data.hub.id=a/b", "data.columns.text="])
    (job,) = jobs(
        ["data=hub", "data.hub.id=a/b", "data.hub.split.test=test.clean+test.other", "data.columns.text=a, b"]
    )
    assert (job.config.data.hub.split.test, job.config.data.columns.text) == ("test.clean+test.other", "a, b")
