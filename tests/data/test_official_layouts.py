"""VCTK and LibriSpeech as they are published, in small."""

import pytest
from support.layouts import write_librispeech, write_vctk

from mam.config.data import DataConfig
from mam.data.corpus import open_corpus
from mam.errors import DataError


def config(root, form, **fields):
    return DataConfig(name=form, format=form, root=str(root), **{"split": "all", **fields})


@pytest.mark.parametrize("version", ["0.92", "0.80"])
def test_vctk_splits_by_speaker_and_keeps_shared_prompts_out_of_train(tmp_path, version):
    root = write_vctk(tmp_path / "vctk", version, 11)  # ten of the eleven speakers have texts
    corpora = {split: open_corpus(config(root, "vctk", split=split)) for split in ("train", "dev", "test", "all")}
    speakers = {split: set(corpus.column("speaker")) for split, corpus in corpora.items()}
    assert speakers["test"] == {"p210"} and speakers["dev"] == {"p209"}
    assert speakers["train"] == {f"p{200 + s}" for s in (0, 1, 2, 3, 4, 6, 7, 8)}
    assert len(corpora["test"]) == 4 and len(corpora["train"]) == 8  # of each training speaker its own sentence only
    said = {split: {text.lower() for text in corpus.column("text")} for split, corpus in corpora.items()}
    assert not said["train"] & (said["test"] | said["dev"])
    assert len(corpora["all"]) == 40 and len(corpora["all"].skipped) == 4
    assert corpora["test"].skipped[0].reason == "p205_001: has no text (txt/p205/p205_001.txt)"
    assert f"VCTK {version}, by speaker: of 10" in corpora["test"].rule
    assert "24 recordings of prompts that occur in test or dev" in corpora["test"].rule
    ending = "_mic1.flac" if version == "0.92" else ".wav"
    assert corpora["test"].column("audio")[0].endswith(f"p210/p210_001{ending}")


def test_another_folder_is_not_vctk(tmp_path):
    (tmp_path / "wav16").mkdir()
    with pytest.raises(
        DataError, match=r"has no txt/ together with wav48_silence_trimmed/ or wav48/.*datashare.ed.ac.uk"
    ):
        open_corpus(config(tmp_path, "vctk"))
    (tmp_path / "wav48").mkdir()
    (tmp_path / "txt").mkdir()
    with pytest.raises(DataError, match=r"no recordings \*.wav with a text"):
        open_corpus(config(tmp_path, "vctk"))


def test_librispeech(tmp_path):
    root = write_librispeech(tmp_path / "LibriSpeech")
    corpus = open_corpus(config(root, "librispeech", split="test"))
    assert corpus.column("id") == ["61-70968-0000", "61-70968-0001"]
    assert corpus.column("text")[1] == "HE BEGAN A CONFUSED COMPLAINT 1" and set(corpus.column("speaker")) == {"61"}
    assert corpus.rule == "LibriSpeech's own subsets: dev-clean, test-clean, train-clean-100"
    one = open_corpus(config(root / "dev-clean", "librispeech", split="dev"))
    assert one.column("audio")[0] == "84/70968/84-70968-0000.flac"


def test_librispeech_that_is_broken_or_absent(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=r"has no \*.trans.txt in any folder.*openslr.org/12"):
        open_corpus(config(tmp_path, "librispeech"))
    root = write_librispeech(tmp_path / "LibriSpeech")
    path = root / "test-clean/61/70968/61-70968.trans.txt"
    path.write_text("61-70968-0000\n61-70968-0001 YES\n")
    with pytest.raises(DataError, match=r"61-70968.trans.txt, line 1: has no text after the id '61-70968-0000'"):
        open_corpus(config(root, "librispeech"))
