"""Sounds in their layouts: ESC-50's official folder, labels by column, labels by folder, a Parquet copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.audio import CLASSES, noise, sound, write_sounds
from support.hub import write_part
from support.layouts import write_esc50
from support.runs import jobs

from mam.config.data import DataConfig
from mam.data.corpus import open_corpus
from mam.errors import DataError

ESC10 = ["dog", "rooster", "rain", "sea_waves", "crackling_fire"]


def config(root: Path, format: str = "esc50", **settings: object) -> DataConfig:
    return DataConfig(name="x", format=format, root=str(root), **settings)  # type: ignore[arg-type]


def test_esc50_in_its_official_layout(tmp_path):
    corpus = open_corpus(config(write_esc50(tmp_path), clusters="origin"), "events")
    assert len(corpus) == 30 and corpus.rule == "the five predefined folds"
    assert corpus.column("fold") == [fold for fold in range(1, 6) for _ in range(6)]
    first = corpus.examples[0]
    assert (first["id"], first["audio"]) == ("1-1010-A-0", "audio/1-1010-A-0.wav")
    assert (first["label"], first["origin"], first["text"]) == ("dog", "1010", "")
    assert len(set(corpus.column("origin"))) == 20
    assert corpus.wave(0, 16000).shape == (round(0.3 * 16000 * 16000 / 44100),)


BROKEN = {
    "fold": (lambda t: t.replace(",3,10,", ",6,10,", 1), "line 17: fold '6' is not one of 1 to 5"),
    "class": (lambda t: t.replace(",rain,", ",drizzle,", 1), "line 5: 'drizzle' is not a class of ESC-50"),
    "fields": (lambda t: t.replace(",True,", ",", 1), r"line 2: 6 fields instead of 7 \(filename,fold"),
    "origin": (lambda t: t.replace(",True,1010,", ",True,,", 1), "line 2: src_file is empty"),
    "columns": (lambda t: t.replace("filename", "file", 1), "its columns are category, esc10, file"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_table_is_named(change, message, tmp_path):
    table = write_esc50(tmp_path) / "meta" / "esc50.csv"
    table.write_text(change(table.read_text()))
    with pytest.raises(DataError, match=message):
        open_corpus(config(tmp_path), "events")


def test_a_missing_fold_is_named(tmp_path):
    with pytest.raises(DataError, match="has no clips in fold 5. ESC-50 has five folds"):
        open_corpus(config(write_esc50(tmp_path, drop=6)), "events")


def test_not_esc50_says_where_it_comes_from(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(
        DataError, match=r"meta/esc50.csv: there is no such file.*https://github.com/karolpiczak/ESC-50"
    ):
        open_corpus(config(tmp_path), "events")


def test_a_missing_recording_is_a_problem_of_its_example(tmp_path):
    (write_esc50(tmp_path) / "audio" / "1-1010-A-0.wav").unlink()
    corpus = open_corpus(config(tmp_path), "events")
    assert len(corpus) == 29 and corpus.skipped[0].id == "1-1010-A-0"
    assert "does not exist" in corpus.problems[0]


@pytest.mark.parametrize("above", ["{label}", "fold{number}/{label}", "{split}/{label}"])
def test_labels_from_folder_names(above, tmp_path):
    for number, split in ((1, "train"), (2, "test")):
        for label in CLASSES:
            folder = tmp_path / above.format(label=label, number=number, split=split)
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"clip {number}.flac", sound(label, 0.3, number), 16000)
    settings = {"split": "all"} if above == "{label}" else {}
    corpus = open_corpus(config(tmp_path, "audiofolder", **settings), "events")
    assert sorted(corpus.column("label")) == sorted([*CLASSES, *CLASSES])
    assert sorted(set(corpus.column("fold"))) == [1, 2] if "fold" in above else set(corpus.column("fold")) == {None}
    assert set(corpus.column("split")) == ({"train", "test"} if "split" in above else {None})
    assert len(set(corpus.column("id"))) == 6
    assert corpus.wave(0, 16000).shape == (4800,)


def test_recordings_in_no_labelled_folder_are_named(tmp_path):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    for place in ("loose.wav", "a/b/c/deep.wav", "a/b/odd.wav"):
        soundfile.write(tmp_path / place, noise(0.2, 0), 16000)
    with pytest.raises(DataError) as caught:
        open_corpus(config(tmp_path, "audiofolder", split="all"), "events")
    for place in ("loose.wav", "a/b/c/deep.wav", "a/b/odd.wav"):
        assert f"{place}: is not in a folder of the form LABEL, SPLIT/LABEL or foldN/LABEL" in str(caught.value)


def test_clips_without_fold_or_split_are_named(tmp_path):
    root = write_sounds(tmp_path / "sounds")
    text = (root / "metadata.csv").read_text()
    (root / "metadata.csv").write_text(text.replace("1-hum-0.wav,hum,1,", "1-hum-0.wav,hum,,"))
    with pytest.raises(DataError, match="1 clips have no fold, e.g. '1-hum-0'"):
        open_corpus(config(root, "audiofolder"), "events")
    (root / "metadata.csv").write_text(text.replace(",hum,1,", ",hum,one,"))
    with pytest.raises(DataError, match="fold 'one' is not a number"):
        open_corpus(config(root, "audiofolder"), "events")
    (root / "metadata.csv").write_text(text.replace("1-hum-0.wav,hum", "1-hum-0.wav,"))
    corpus = open_corpus(config(root, "audiofolder"), "events")
    assert "1-hum-0: the label is empty" in corpus.problems[0]


def test_clusters_that_are_not_named_are_refused(tmp_path):
    root = write_sounds(tmp_path / "sounds")
    text = (root / "metadata.csv").read_text().replace("1-hum-0\n", "\n").replace("1-hum-0\r\n", "\r\n")
    (root / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match=r"data.clusters=origin: 1-hum-0, 1-hum-1 have no origin. Set data.clusters="):
        open_corpus(config(root, "audiofolder", clusters="origin"), "events")


def test_labels_folds_and_origins_are_part_of_the_hash(tmp_path):
    root = write_sounds(tmp_path / "sounds")
    table = root / "metadata.csv"
    before, text = open_corpus(config(root, "audiofolder"), "events").sha256, table.read_text()
    for old, new in ((",hum,1,1-hum-0", ",buzz,1,1-hum-0"), (",hum,1,", ",hum,2,"), ("1-hum-0\n", "other\n")):
        changed = text.replace("\r\n", "\n").replace(old, new, 1)
        assert changed != text
        table.write_text(changed)
        assert open_corpus(config(root, "audiofolder"), "events").sha256 != before


def test_a_copy_on_the_hub(tmp_path):
    root = write_sounds(tmp_path / "sounds")
    names = [f"{fold}-{label}-0.wav" for fold in (1, 2) for label in CLASSES]
    columns = {
        "filename": names,
        "fold": [1, 1, 1, 2, 2, 2],
        "category": [*CLASSES, *CLASSES],
        "src_file": list(range(6)),
    }
    write_part(tmp_path / "copy/data/train-00000-of-00001.parquet", [root / name for name in names], **columns)
    (job,) = jobs(["model=demo_beats_vit", "data=esc50", "data.source=hub", f"data.hub.id={tmp_path / 'copy'}"])
    corpus = open_corpus(job.config.data, "events")
    assert corpus.column("label") == [*CLASSES, *CLASSES] and corpus.column("fold") == [1, 1, 1, 2, 2, 2]
    assert corpus.column("origin") == list("012345") and corpus.rule.startswith("folds as on the hub; ")
    assert corpus.column("id")[0] == "1-hum-0"
    np.testing.assert_array_equal(corpus.wave(3, 16000), soundfile.read(root / names[3], dtype="float32")[0])
    job.config.data.columns.fold = "filename"
    with pytest.raises(DataError, match="column filename: '1-hum-0.wav' is not a number"):
        open_corpus(job.config.data, "events")
