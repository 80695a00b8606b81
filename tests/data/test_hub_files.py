"""Files that cells name: those of the repository are read, wherever its copy is, and no others are opened."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.hub import config, write_cells

from mam.data import hub_files
from mam.data.corpus import open_corpus
from mam.data.hub_files import recording_at
from mam.data.store import AudioStore
from mam.errors import MamError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = f"hf://datasets/owner/name@{COMMIT}"
OURS = {
    f"{REPOSITORY}/wavs/a.wav": "wavs/a.wav",
    f"zip://wavs/a.wav::{REPOSITORY}/clips.zip": "wavs/a.wav",
    f"tar://a.wav::gzip://clips.tar::{REPOSITORY}/clips.tar.gz": "a.wav",
    f"gzip://::{REPOSITORY}/a.wav.gz": "a.wav.gz",
}
FOREIGN = [
    f"https://evil.example/a.wav?{REPOSITORY}/a.wav",
    f"https://evil.example/a.wav?hf://datasets/owner/name@::{REPOSITORY}/a.wav",
    f"filecache://::{REPOSITORY}/a.wav",
    f"zip://a.wav::{REPOSITORY}/clips.zip::https://evil.example/clips.zip",
    f"zip://a.wav::https://evil.example/clips.zip#{REPOSITORY}/clips.zip",
    f"/etc/passwd::{REPOSITORY}/a.wav",
    f"zip::{REPOSITORY}/clips.zip",
    f"{REPOSITORY}/../../../other/name/resolve/main/a.wav",
    f"{REPOSITORY}/",
    "hf://datasets/owner/name@main/a.wav",
    f"hf://datasets/other/name@{COMMIT}/a.wav",
    f"hf://datasets/owner/name@{COMMIT}0/a.wav",
    "https://example.org/a.wav",
    "/etc/passwd",
    "wavs/a.wav",
    "a\0.wav",
    "a" * 5000,
    "::",
]


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    names: list[str] = []

    def xopen(name, mode):
        names.append(name)
        return io.BytesIO(b"sound")

    monkeypatch.setattr(hub_files, "xopen", xopen)
    return names


@pytest.mark.parametrize(("name", "path"), OURS.items())
def test_files_of_the_repository_are_fetched(name, path, opened):
    assert recording_at(name, "owner/name", COMMIT) == {"bytes": b"sound", "path": path}
    assert opened == [name]


@pytest.mark.parametrize("name", FOREIGN)
def test_no_others_are_opened(name, opened):
    assert recording_at(name, "owner/name", COMMIT) is None
    assert opened == []


def test_a_copy_in_a_folder_gives_its_own_files_alone(tmp_path, clips):
    copy, outside = tmp_path / "copy", tmp_path / "secret.wav"
    (copy / "wavs").mkdir(parents=True)
    content = clips[0].read_bytes()
    for path in (copy / "wavs" / "a.wav", outside):
        path.write_bytes(content)
    (copy / "link.wav").symlink_to(outside)
    (copy / "loop.wav").symlink_to("loop.wav")
    with zipfile.ZipFile(copy / "clips.zip", "w") as archive:
        archive.writestr("in/b.wav", clips[1].read_bytes())
    (tmp_path / "clips.zip").write_bytes((copy / "clips.zip").read_bytes())
    for name in ("wavs/a.wav", f"{copy}/wavs/a.wav", "wavs/../wavs/a.wav"):
        assert recording_at(name, str(copy), "x") == {"bytes": content, "path": "wavs/a.wav"}
    zipped = recording_at(f"zip://in/b.wav::{copy}/clips.zip", str(copy), "x")
    assert zipped == {"bytes": clips[1].read_bytes(), "path": "in/b.wav"}
    for name in (
        *("../secret.wav", str(outside), "link.wav", "loop.wav", "wavs", ".", "/", "a\0.wav", "a" * 5000),
        *(f"zip://in/b.wav::{tmp_path}/clips.zip", f"file://{outside}", f"{copy}/wavs/a.wav::{copy}/clips.zip"),
    ):
        assert recording_at(name, str(copy), "x") is None


def write_audio_files(folder: Path, clips: list[Path], blobs: Path | None = None) -> None:
    """A split `test` of audio files and `metadata.csv`; with ``blobs``, links as in the hub's cache."""
    (folder / "test").mkdir(parents=True)
    lines = ["file_name,transcription", *(f"{clip.name},WORD {i}" for i, clip in enumerate(clips))]
    contents = {clip.name: clip.read_bytes() for clip in clips}
    for i, (name, content) in enumerate((contents | {"metadata.csv": "\n".join(lines).encode()}).items()):
        path = folder / "test" / name
        if blobs is not None:
            blobs.mkdir(exist_ok=True)
            path.symlink_to(blobs / f"blob{i}")
        path.write_bytes(content)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # datasets leaves metadata.csv open
def test_a_copy_named_by_a_relative_path_or_a_link(tmp_path, clips, monkeypatch):
    write_audio_files(tmp_path / "copy", clips)
    (tmp_path / "link").symlink_to("copy")
    monkeypatch.chdir(tmp_path)
    for name in ("copy", "link", "./copy/../copy"):
        corpus = open_corpus(config(name))
        assert corpus.column("audio") == [f"test/clip{i}.wav" for i in range(3)]
        assert len(AudioStore.checked(corpus, 16000, 10**9, "stop").samples) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_offline_audio_files_of_the_hubs_cache_are_read(tmp_path, clips, monkeypatch):
    repository = tmp_path / "hub" / "datasets--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    write_audio_files(repository / "snapshots" / COMMIT, clips, repository / "blobs")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    corpus = open_corpus(config("owner/name"))
    assert corpus.column("text") == ["WORD 0", "WORD 1", "WORD 2"]
    assert len(AudioStore.checked(corpus, 16000, 10**9, "stop").samples) == 3


def test_cells_that_are_no_paths_are_recordings_that_are_missing(place, clips):
    names = [".", "/", "a\0b", "a" * 5000]
    cells = [{"bytes": clips[0].read_bytes(), "path": "a.wav"}, *({"bytes": None, "path": name} for name in names)]
    write_cells(place / "test.parquet", cells, text=list("ABCDE"))
    store = AudioStore.checked(open_corpus(config(place)), 16000, 10**9, "skip")
    assert store.corpus.column("text") == ["A"] and len(store.corpus.skipped) == 4


def test_sounds_whose_paths_are_no_names_have_ids(place, clips):
    cells = [{"bytes": clip.read_bytes(), "path": name} for clip, name in zip(clips, (".", "/", "."), strict=True)]
    write_cells(place / "test.parquet", cells, text=list("ABC"))
    assert open_corpus(config(place)).column("id") == ["test-0", "test-1", "test-2"]


def test_a_cache_that_cannot_be_used_names_its_variable(place, clips, tmp_path):
    write_cells(place / "test.parquet", [{"bytes": clips[0].read_bytes(), "path": "a.wav"}], text=["A"])
    (tmp_path / "datasets").write_text("a file where the cache should be")
    with pytest.raises(MamError, match=r"datasets/mam .*Set HF_DATASETS_CACHE to another folder\."):
        open_corpus(config(place))
